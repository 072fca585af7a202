/* What style-based generators have around products, each in one pass: filters, styles, noise, layers that make images.
 *
 * Tensors have their channels last: (images, places, channels), or (images, height, width, channels). Numbers are bf16
 * or fp32 ("full") and are computed with in fp32.
 */
#include "vectors.h"

enum { LANES = 16, MOST_TAPS = 4, MOST_COLOURS = 4 };

static float *zeros(long numbers) { /* with room for a vector beyond the end */
  const size_t bytes = (size_t)((numbers + 2 * LANES) * 4 + 63) / 64 * 64;
  return memset(aligned_alloc(64, bytes), 0, bytes);
}

/* ---- filters --------------------------------------------------------------------------------------------------- */

/* line[i] = sum over taps of rows r, r + 1, ... of an image, those outside of it 0. */
static void rows_together(const void *x, long full, long image, long r, long h, long size, const float *taps, long count,
                          float *line) {
  for (long k = 0; k < size; k += LANES) {
    const mask16 m = lanes(size - k);
    f32x16 sum = _mm512_setzero_ps();
    for (long t = 0; t < count; t++)
      if (r + t >= 0 && r + t < h)
        sum = _mm512_fmadd_ps(_mm512_set1_ps(taps[t]), load(x, (image * h + r + t) * size + k, (int)full, m), sum);
    _mm512_mask_storeu_ps(line + k, m, sum);
  }
}

/* y = the same symmetric taps in both directions, of x with `padding` zeros around it; then, where there is noise,
 * y = LeakyReLU(y + noise strength + bias). x (n, h, w, c), y (n, h + 2 padding + 1 - count, ..., c), noise (n, oh, ow). */
void filter_maps(const void *x, long x_full, const float *taps, long count, long padding, const float *noise,
                 const float *strength, const float *bias, float slope, void *y, long y_full, long n, long h, long w,
                 long c, long threads) {
  const long oh = h + 2 * padding + 1 - count, ow = w + 2 * padding + 1 - count;
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    float *line = zeros((w + 2 * padding) * c);
#pragma omp for schedule(static)
    for (long i = 0; i < n; i++)
      for (long r = 0; r < oh; r++) {
        rows_together(x, x_full, i, r - padding, h, w * c, taps, count, line + padding * c);
        for (long q = 0; q < ow; q++) {
          const long place = (i * oh + r) * ow + q;
          for (long k = 0; k < c; k += LANES) {
            const mask16 m = lanes(c - k);
            f32x16 sum = _mm512_setzero_ps();
            for (long t = 0; t < count; t++)
              sum = _mm512_fmadd_ps(_mm512_set1_ps(taps[t]), _mm512_loadu_ps(line + (q + t) * c + k), sum);
            if (noise) {
              sum = _mm512_fmadd_ps(_mm512_set1_ps(noise[place]), _mm512_maskz_loadu_ps(m, strength + k), sum);
              sum = leaky(_mm512_add_ps(sum, _mm512_maskz_loadu_ps(m, bias + k)), slope);
            }
            store(y, place * c + k, (int)y_full, sum, m);
          }
        }
      }
    free(line);
  }
}

/* Few channels, fp32: twice the side by taps (1 3 3 1) / 4, zeros outside. x (n, h, w, c), y (n, 2h, 2w, c). */
void double_images(const float *x, float *y, long n, long h, long w, long c) {
  static const float above[2] = {0.25f, 0.75f}, below[2] = {0.75f, 0.25f};
  int32_t far[LANES] = {0}, near[LANES] = {0}; /* of the three pixels around: those a quarter and three quarters come from */
  for (long k = 0; k < c; k++) far[k] = (int32_t)k, near[k] = near[c + k] = (int32_t)(c + k), far[c + k] = (int32_t)(2 * c + k);
  const __m512i a = _mm512_loadu_si512(far), b = _mm512_loadu_si512(near);
  float *line = zeros((w + 2) * c);
  for (long i = 0; i < n; i++)
    for (long r = 0; r < 2 * h; r++) {
      rows_together(x, 1, i, r % 2 ? r / 2 : r / 2 - 1, h, w * c, r % 2 ? below : above, 2, line + c);
      float *to = y + (i * 2 * h + r) * 2 * w * c;
      for (long q = 0; q < w; q++) {
        const f32x16 around = _mm512_loadu_ps(line + q * c);
        const f32x16 one = _mm512_mul_ps(_mm512_permutexvar_ps(a, around), _mm512_set1_ps(0.25f));
        const f32x16 sum = _mm512_fmadd_ps(_mm512_permutexvar_ps(b, around), _mm512_set1_ps(0.75f), one);
        _mm512_mask_storeu_ps(to + 2 * q * c, lanes(2 * c), sum);
      }
    }
  free(line);
}

/* Its adjoint: dx (n, h, w, c) of dy (n, 2h, 2w, c). */
void double_images_backward(const float *dy, float *dx, long n, long h, long w, long c) {
  static const float taps[4] = {0.25f, 0.75f, 0.75f, 0.25f};
  float *line = zeros((2 * w + 2) * c);
  for (long i = 0; i < n; i++)
    for (long r = 0; r < h; r++) {
      rows_together(dy, 1, i, 2 * r - 1, 2 * h, 2 * w * c, taps, 4, line + c);
      for (long q = 0; q < w; q++) {
        f32x16 sum = _mm512_setzero_ps();
        for (long t = 0; t < 4; t++)
          sum = _mm512_fmadd_ps(_mm512_set1_ps(taps[t]), _mm512_loadu_ps(line + (2 * q + t) * c), sum);
        _mm512_mask_storeu_ps(dx + ((i * h + r) * w + q) * c, lanes(c), sum);
      }
    }
  free(line);
}

/* ---- styles ---------------------------------------------------------------------------------------------------- */

/* y = s x, with a number of s for each image and channel. */
void scale_maps(const void *x, long full, const float *s, bf16 *y, long n, long places, long c) {
  for (long i = 0; i < n; i++)
    for (long p = i * places; p < (i + 1) * places; p++)
      for (long k = 0; k < c; k += LANES) {
        const mask16 m = lanes(c - k);
        const f32x16 found = _mm512_mul_ps(load(x, p * c + k, (int)full, m), _mm512_maskz_loadu_ps(m, s + i * c + k));
        store_bf16(y + p * c + k, found, m);
      }
}

/* Backward of the above: dx = s dy (like x), ds (n, c) = sum over places of x dy. */
void scale_maps_backward(const void *x, long full, const float *s, const bf16 *dy, void *dx, float *ds, long n,
                         long places, long c) {
  for (long i = 0; i < n; i++)
    for (long k = 0; k < c; k += LANES) {
      const mask16 m = lanes(c - k);
      const f32x16 style = _mm512_maskz_loadu_ps(m, s + i * c + k);
      f32x16 sum = _mm512_setzero_ps();
      for (long p = i * places; p < (i + 1) * places; p++) {
        const f32x16 v = load_bf16(dy + p * c + k, m);
        sum = _mm512_fmadd_ps(load(x, p * c + k, (int)full, m), v, sum);
        store(dx, p * c + k, (int)full, _mm512_mul_ps(v, style), m);
      }
      _mm512_mask_storeu_ps(ds + i * c + k, m, sum);
    }
}

/* Backward of y = LeakyReLU(u), u = scale c + noise strength + bias, for a slope above 0: with v the gradient in u,
 * dc = scale v, and sums (3, n, c) over places of v u, v, v noise. */
void styled_backward(const void *dy, long full, const bf16 *y, const float *noise, const float *scale, float slope,
                     bf16 *dc, float *sums, long n, long places, long c) {
  const f32x16 down = _mm512_set1_ps(slope), up = _mm512_set1_ps(1 / slope);
  for (long i = 0; i < n; i++)
    for (long k = 0; k < c; k += LANES) {
      const mask16 m = lanes(c - k);
      const f32x16 s = _mm512_maskz_loadu_ps(m, scale + i * c + k);
      f32x16 of_u = _mm512_setzero_ps(), plain = of_u, of_noise = of_u;
      for (long p = i * places; p < (i + 1) * places; p++) {
        const f32x16 z = load_bf16(y + p * c + k, m);
        const mask16 below = _mm512_cmp_ps_mask(z, _mm512_setzero_ps(), _CMP_LE_OQ);
        f32x16 v = load(dy, p * c + k, (int)full, m);
        v = _mm512_mask_mul_ps(v, below, v, down);
        of_u = _mm512_fmadd_ps(v, _mm512_mask_mul_ps(z, below, z, up), of_u);
        plain = _mm512_add_ps(plain, v);
        of_noise = _mm512_fmadd_ps(v, _mm512_set1_ps(noise[p]), of_noise);
        store_bf16(dc + p * c + k, _mm512_mul_ps(v, s), m);
      }
      _mm512_mask_storeu_ps(sums + i * c + k, m, of_u);
      _mm512_mask_storeu_ps(sums + (n + i) * c + k, m, plain);
      _mm512_mask_storeu_ps(sums + (2 * n + i) * c + k, m, of_noise);
    }
}

/* Of weights (o, taps, c) and styles (n, c): squares (o, c) = sums over taps of w^2, and
 * d (n, o) = amplify / sqrt(sum over c of s^2 squares + eps). */
void demodulate(const float *w, const float *s, float amplify, float eps, float *squares, float *d, long n, long o,
                long taps, long c) {
  for (long j = 0; j < o; j++)
    for (long k = 0; k < c; k += LANES) {
      const mask16 m = lanes(c - k);
      f32x16 sum = _mm512_setzero_ps();
      for (long t = 0; t < taps; t++) {
        const f32x16 x = _mm512_maskz_loadu_ps(m, w + (j * taps + t) * c + k);
        sum = _mm512_fmadd_ps(x, x, sum);
      }
      _mm512_mask_storeu_ps(squares + j * c + k, m, sum);
    }
  for (long i = 0; i < n; i++)
    for (long j = 0; j < o; j++) {
      f32x16 sum = _mm512_setzero_ps();
      for (long k = 0; k < c; k += LANES) {
        const mask16 m = lanes(c - k);
        const f32x16 x = _mm512_maskz_loadu_ps(m, s + i * c + k);
        sum = _mm512_fmadd_ps(_mm512_mul_ps(x, x), _mm512_maskz_loadu_ps(m, squares + j * c + k), sum);
      }
      d[i * o + j] = amplify / __builtin_sqrtf(_mm512_reduce_add_ps(sum) + eps);
    }
}

/* The way back through d, for the sums (3, n, o) of `styled_backward`: adds to ds (n, c) and dw (o, taps, c), and sums up
 * the gradients of strength and bias (o). */
void demodulate_backward(const float *w, const float *s, const float *squares, const float *d, const float *sums,
                         const float *strength, const float *bias, float amplify, float *ds, float *dw,
                         float *d_strength, float *d_bias, long n, long o, long taps, long c) {
  float *along = zeros(n * o); /* the gradient in the energies, of which d is amplify / sqrt */
  memset(d_strength, 0, (size_t)o * 4);
  memset(d_bias, 0, (size_t)o * 4);
  for (long i = 0; i < n; i++)
    for (long j = 0; j < o; j++) {
      const long at = i * o + j;
      const float of_u = sums[at], plain = sums[n * o + at], of_noise = sums[2 * n * o + at];
      d_strength[j] += of_noise;
      d_bias[j] += plain;
      /* Of d it is sum(v c) for the product c, and c = (u - noise strength - bias) / d. */
      const float of_d = (of_u - of_noise * strength[j] - plain * bias[j]) / d[at];
      along[at] = -0.5f * of_d * d[at] * d[at] * d[at] / (amplify * amplify);
    }
  for (long k = 0; k < c; k += LANES) {
    const mask16 m = lanes(c - k);
    for (long i = 0; i < n; i++) {
      f32x16 sum = _mm512_setzero_ps();
      for (long j = 0; j < o; j++)
        sum = _mm512_fmadd_ps(_mm512_set1_ps(2 * along[i * o + j]), _mm512_maskz_loadu_ps(m, squares + j * c + k), sum);
      const f32x16 before = _mm512_maskz_loadu_ps(m, ds + i * c + k);
      _mm512_mask_storeu_ps(ds + i * c + k, m, _mm512_fmadd_ps(sum, _mm512_maskz_loadu_ps(m, s + i * c + k), before));
    }
    for (long j = 0; j < o; j++) {
      f32x16 sum = _mm512_setzero_ps();
      for (long i = 0; i < n; i++) {
        const f32x16 x = _mm512_maskz_loadu_ps(m, s + i * c + k);
        sum = _mm512_fmadd_ps(_mm512_set1_ps(2 * along[i * o + j]), _mm512_mul_ps(x, x), sum);
      }
      for (long t = 0; t < taps; t++) {
        const long at = (j * taps + t) * c + k;
        const f32x16 before = _mm512_maskz_loadu_ps(m, dw + at);
        _mm512_mask_storeu_ps(dw + at, m, _mm512_fmadd_ps(sum, _mm512_maskz_loadu_ps(m, w + at), before));
      }
    }
  }
  free(along);
}

/* ---- layers that make images ----------------------------------------------------------------------------------- */

/* Backward of y = h m' with weights m (n, o, c) of their own for each image and o of at most four colours:
 * dh = dy m, dm = sum over places of dy' h. dy (n, places, o) is fp32, h and dh (n, places, c) are bf16. */
void colours_backward(const float *dy, const bf16 *h, const float *weight, bf16 *dh, float *dm, long n, long places,
                      long o, long c) {
  for (long i = 0; i < n; i++)
    for (long k = 0; k < c; k += LANES) {
      const mask16 m = lanes(c - k);
      f32x16 w[MOST_COLOURS], sum[MOST_COLOURS];
#pragma GCC unroll 4
      for (long j = 0; j < MOST_COLOURS; j++) {
        w[j] = j < o ? _mm512_maskz_loadu_ps(m, weight + (i * o + j) * c + k) : _mm512_setzero_ps();
        sum[j] = _mm512_setzero_ps();
      }
      for (long p = i * places; p < (i + 1) * places; p++) {
        const f32x16 z = load_bf16(h + p * c + k, m);
        f32x16 back = _mm512_setzero_ps();
#pragma GCC unroll 4
        for (long j = 0; j < MOST_COLOURS; j++) {
          const f32x16 v = _mm512_set1_ps(dy[p * o + (j < o ? j : 0)]);
          back = _mm512_fmadd_ps(v, w[j], back);
          sum[j] = _mm512_fmadd_ps(v, z, sum[j]);
        }
        store_bf16(dh + p * c + k, back, m);
      }
      for (long j = 0; j < o; j++) _mm512_mask_storeu_ps(dm + (i * o + j) * c + k, m, sum[j]);
    }
}
