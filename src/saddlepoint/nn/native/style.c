/* What style-based generators have around products, each in one pass: filters, styles, noise, layers that make images.
 *
 * Tensors have their channels last: (images, places, channels), or (images, height, width, channels). Numbers are bf16
 * or fp32 ("full") and are computed with in fp32.
 */
#pragma GCC optimize("O3") /* loops over a few registers want to be unrolled */
#include "room.h"
#include "vectors.h"

enum { MOST_COLOURS = 4 };

/* ---- filters --------------------------------------------------------------------------------------------------- */

/* line[i] = sum over taps of rows r, r + 1, ... of an image, those outside of it 0. */
static void rows_together(const void *x, long full, long image, long r, long h, long size, const float *taps,
                          long count, float *line) {
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
 * y = LeakyReLU(y + noise strength + bias). x (n, h, w, c), y (n, oh, ow, c), noise (n, oh, ow). */
void filter_maps(const void *x, long x_full, const float *taps, long count, long padding, const float *noise,
                 const float *strength, const float *bias, float slope, void *y, long y_full, long n, long h, long w,
                 long c, long threads) {
  const long oh = h + 2 * padding + 1 - count, ow = w + 2 * padding + 1 - count;
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    float *line = zeros((w + 2 * padding) * c * 4);
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
  /* Of three pixels side by side: those that a quarter comes from, and those that three quarters come from. */
  int32_t far[LANES] = {0}, near[LANES] = {0};
  for (int32_t k = 0; k < (int32_t)c; k++) {
    far[k] = k, far[c + k] = (int32_t)(2 * c + k);
    near[k] = near[c + k] = (int32_t)(c + k);
  }
  const __m512i a = _mm512_loadu_si512(far), b = _mm512_loadu_si512(near);
  float *line = zeros((w + 2) * c * 4);
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
  float *line = zeros((2 * w + 2) * c * 4);
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
  const float up = 1 / slope;
  for (long i = 0; i < n; i++)
    for (long k = 0; k < c; k += LANES) {
      const mask16 m = lanes(c - k);
      const f32x16 s = _mm512_maskz_loadu_ps(m, scale + i * c + k);
      f32x16 of_u = _mm512_setzero_ps(), plain = of_u, of_noise = of_u;
      for (long p = i * places; p < (i + 1) * places; p++) {
        const f32x16 z = load_bf16(y + p * c + k, m);
        const f32x16 v = sloped(load(dy, p * c + k, (int)full, m), z, slope);
        of_u = _mm512_fmadd_ps(v, sloped(z, z, up), of_u);
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

/* The way back through d, for the sums (3, n, o) of `styled_backward`: adds to ds (n, c) and dw (o, taps, c), and sums
 * up the gradients of strength and bias (o). */
void demodulate_backward(const float *w, const float *s, const float *squares, const float *d, const float *sums,
                         const float *strength, const float *bias, float amplify, float *ds, float *dw,
                         float *d_strength, float *d_bias, long n, long o, long taps, long c) {
  float *along = zeros(n * o * 4); /* the gradient in the energies, of which d is amplify / sqrt */
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

/* ---- maps normalised, each by itself ---------------------------------------------------------------------------- */

/* h = LeakyReLU(x + noise strength + bias); below: where its slope counts. */
INLINE f32x16 activated(const float *x, const float *noise, f32x16 strength, f32x16 bias, float slope, mask16 m,
                        mask16 *below) {
  const f32x16 u = _mm512_add_ps(_mm512_fmadd_ps(_mm512_set1_ps(*noise), strength, _mm512_maskz_loadu_ps(m, x)), bias);
  *below = _mm512_cmp_ps_mask(u, _mm512_setzero_ps(), _CMP_LE_OQ);
  return _mm512_mask_mul_ps(u, *below, u, _mm512_set1_ps(slope));
}

/* y = (h - mean) r gain + shift for each image and channel, with the mean of h over places, r = 1 / sqrt(variance +
 * eps) and styles (n, 2, c): gain - 1 and shift. x, y (n, places, c) fp32, noise (n, places), moments (n, 2, c): mean
 * and r. */
void normalise_maps(const float *x, const float *noise, const float *strength, const float *bias, float slope,
                    float eps, const float *styles, float *y, float *moments, long n, long places, long c) {
  const f32x16 share = _mm512_set1_ps(1 / (float)places), one = _mm512_set1_ps(1);
  for (long i = 0; i < n; i++)
    for (long k = 0; k < c; k += LANES) {
      const mask16 m = lanes(c - k);
      mask16 below;
      const f32x16 a = _mm512_maskz_loadu_ps(m, strength + k), b = _mm512_maskz_loadu_ps(m, bias + k);
      const long from = i * places, to = from + places;
      f32x16 mean = _mm512_setzero_ps(), squares = mean;
      for (long p = from; p < to; p++) {
        const f32x16 h = activated(x + p * c + k, noise + p, a, b, slope, m, &below);
        _mm512_mask_storeu_ps(y + p * c + k, m, h);
        mean = _mm512_add_ps(mean, h);
      }
      mean = _mm512_mul_ps(mean, share);
      for (long p = from; p < to; p++) {
        const f32x16 h = _mm512_sub_ps(_mm512_maskz_loadu_ps(m, y + p * c + k), mean);
        squares = _mm512_fmadd_ps(h, h, squares);
      }
      const f32x16 r = _mm512_div_ps(one, _mm512_sqrt_ps(_mm512_fmadd_ps(squares, share, _mm512_set1_ps(eps))));
      const f32x16 gain = _mm512_add_ps(_mm512_maskz_loadu_ps(m, styles + 2 * i * c + k), one);
      const f32x16 shift = _mm512_maskz_loadu_ps(m, styles + (2 * i + 1) * c + k), times = _mm512_mul_ps(gain, r);
      for (long p = from; p < to; p++) {
        const f32x16 h = _mm512_sub_ps(_mm512_maskz_loadu_ps(m, y + p * c + k), mean);
        _mm512_mask_storeu_ps(y + p * c + k, m, _mm512_fmadd_ps(h, times, shift));
      }
      _mm512_mask_storeu_ps(moments + 2 * i * c + k, m, mean);
      _mm512_mask_storeu_ps(moments + (2 * i + 1) * c + k, m, r);
    }
}

/* The way back: dx like x, d_styles (n, 2, c), and d_strength and d_bias (c). With z = (h - mean) r and g = gain dy:
 * dh = r (g - mean(g) - z mean(g z)). */
void normalise_maps_backward(const float *x, const float *noise, const float *strength, const float *bias, float slope,
                             const float *styles, const float *moments, const float *dy, float *dx, float *d_styles,
                             float *d_strength, float *d_bias, long n, long places, long c) {
  const f32x16 share = _mm512_set1_ps(1 / (float)places);
  memset(d_strength, 0, (size_t)c * 4);
  memset(d_bias, 0, (size_t)c * 4);
  for (long i = 0; i < n; i++)
    for (long k = 0; k < c; k += LANES) {
      const mask16 m = lanes(c - k);
      mask16 below;
      const f32x16 a = _mm512_maskz_loadu_ps(m, strength + k), b = _mm512_maskz_loadu_ps(m, bias + k);
      const f32x16 mean = _mm512_maskz_loadu_ps(m, moments + 2 * i * c + k);
      const f32x16 r = _mm512_maskz_loadu_ps(m, moments + (2 * i + 1) * c + k);
      f32x16 along = _mm512_setzero_ps(), plain = along, of_noise = along, of_bias = along;
      for (long p = i * places; p < (i + 1) * places; p++) {
        const f32x16 h = activated(x + p * c + k, noise + p, a, b, slope, m, &below);
        const f32x16 v = _mm512_maskz_loadu_ps(m, dy + p * c + k);
        along = _mm512_fmadd_ps(v, _mm512_mul_ps(_mm512_sub_ps(h, mean), r), along);
        plain = _mm512_add_ps(plain, v);
      }
      _mm512_mask_storeu_ps(d_styles + 2 * i * c + k, m, along);
      _mm512_mask_storeu_ps(d_styles + (2 * i + 1) * c + k, m, plain);
      const f32x16 gain = _mm512_add_ps(_mm512_maskz_loadu_ps(m, styles + 2 * i * c + k), _mm512_set1_ps(1));
      const f32x16 times = _mm512_mul_ps(gain, r);
      along = _mm512_mul_ps(along, share), plain = _mm512_mul_ps(plain, share);
      for (long p = i * places; p < (i + 1) * places; p++) {
        const f32x16 h = activated(x + p * c + k, noise + p, a, b, slope, m, &below);
        const f32x16 z = _mm512_mul_ps(_mm512_sub_ps(h, mean), r);
        const f32x16 v = _mm512_sub_ps(_mm512_maskz_loadu_ps(m, dy + p * c + k), plain);
        f32x16 d = _mm512_mul_ps(_mm512_fnmadd_ps(z, along, v), times);
        d = _mm512_mask_mul_ps(d, below, d, _mm512_set1_ps(slope));
        of_noise = _mm512_fmadd_ps(d, _mm512_set1_ps(noise[p]), of_noise);
        of_bias = _mm512_add_ps(of_bias, d);
        _mm512_mask_storeu_ps(dx + p * c + k, m, d);
      }
      of_noise = _mm512_add_ps(of_noise, _mm512_maskz_loadu_ps(m, d_strength + k));
      of_bias = _mm512_add_ps(of_bias, _mm512_maskz_loadu_ps(m, d_bias + k));
      _mm512_mask_storeu_ps(d_strength + k, m, of_noise);
      _mm512_mask_storeu_ps(d_bias + k, m, of_bias);
    }
}
