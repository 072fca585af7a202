/* What stands between products, each in one pass: slopes of LeakyReLU, sums of columns, root mean squares of rows.
 *
 * Rows lie in memory one after another: samples of features, or pixels of channels. Numbers are bf16 or fp32 ("full"),
 * and are computed with in fp32.
 */
#pragma GCC optimize("O3") /* loops over a few registers want to be unrolled */
#include "functions.h"
#include "vectors.h"

/* out = v times the slope of the LeakyReLU that made `activated`; v (1 or n, size), the others (n, size). */
void times_slope(const void *v, long v_full, long v_step, const bf16 *activated, float slope, bf16 *out, long n,
                 long size, long threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
  for (long i = 0; i < n; i++)
    for (long k = 0; k < size; k += LANES) {
      const mask16 m = lanes(size - k);
      const f32x16 found = load(v, i * v_step + k, (int)v_full, m);
      store_bf16(out + i * size + k, sloped(found, load_bf16(activated + i * size + k, m), slope), m);
    }
}

/* out (n, size) = t + b[n] h. */
void combine(const void *t, long t_full, const void *h, long h_full, const float *b, bf16 *out, long n, long size,
             long threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
  for (long i = 0; i < n; i++) {
    const f32x16 of_h = _mm512_set1_ps(b[i]);
    for (long k = 0; k < size; k += LANES) {
      const mask16 m = lanes(size - k);
      const f32x16 one = load(t, i * size + k, (int)t_full, m), two = load(h, i * size + k, (int)h_full, m);
      store_bf16(out + i * size + k, _mm512_fmadd_ps(of_h, two, one), m);
    }
  }
}

/* sums[c] = sum over n samples of `places` rows of v (n, places, c), each sample times its weight, if there are any. */
void column_sums(const void *v, long full, const float *weight, float *sums, long n, long places, long c) {
  for (long k = 0; k < c; k += 4 * LANES) { /* a cache line or two of each row at a time */
    f32x16 all[4];
    mask16 m[4];
    for (int j = 0; j < 4; j++) all[j] = _mm512_setzero_ps(), m[j] = lanes_or_none(c - k - j * LANES);
    for (long i = 0; i < n; i++) {
      f32x16 one[4];
      for (int j = 0; j < 4; j++) one[j] = _mm512_setzero_ps();
      for (long p = 0; p < places; p++) {
        const long at = (i * places + p) * c + k;
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) one[j] = _mm512_add_ps(one[j], load(v, at + j * LANES, (int)full, m[j]));
      }
      const f32x16 w = _mm512_set1_ps(weight ? weight[i] : 1);
      for (int j = 0; j < 4; j++) all[j] = _mm512_fmadd_ps(one[j], w, all[j]);
    }
    for (int j = 0; j < 4; j++)
      if (m[j]) _mm512_mask_storeu_ps(sums + k + j * LANES, m[j], all[j]);
  }
}

/* ---- rows divided by their root mean square -------------------------------------------------------------------- */

/* u = LeakyReLU(x) of slope `before`, y = LeakyReLU(u / sqrt(mean u^2 + eps)) of slope `after`; x and y (rows, c). */
void rms_rows(const void *x, long full, float before, float after, float eps, bf16 *y, long rows, long c,
              long threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
  for (long i = 0; i < rows; i++) {
    f32x16 squares = _mm512_setzero_ps();
    for (long k = 0; k < c; k += LANES) {
      const f32x16 u = leaky(load(x, i * c + k, (int)full, lanes(c - k)), before);
      squares = _mm512_fmadd_ps(u, u, squares);
    }
    const float r = 1 / __builtin_sqrtf(_mm512_reduce_add_ps(squares) / (float)c + eps);
    for (long k = 0; k < c; k += LANES) {
      const mask16 m = lanes(c - k);
      const f32x16 u = leaky(load(x, i * c + k, (int)full, m), before);
      store_bf16(y + i * c + k, leaky(_mm512_mul_ps(u, _mm512_set1_ps(r)), after), m);
    }
  }
}

/* dx of the above, by x and dy: with n = r u and g = dy after'(n): du = r (g - n mean(g n)), dx = du before'(x). */
void rms_rows_backward(const void *x, long x_full, const void *dy, long dy_full, float before, float after, float eps,
                       void *dx, long dx_full, long rows, long c, long threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
  for (long i = 0; i < rows; i++) {
    f32x16 squares = _mm512_setzero_ps(), along = _mm512_setzero_ps();
    for (long k = 0; k < c; k += LANES) {
      const mask16 m = lanes(c - k);
      const f32x16 u = leaky(load(x, i * c + k, (int)x_full, m), before);
      const f32x16 g = sloped(load(dy, i * c + k, (int)dy_full, m), u, after);
      squares = _mm512_fmadd_ps(u, u, squares);
      along = _mm512_fmadd_ps(u, g, along);
    }
    const float r = 1 / __builtin_sqrtf(_mm512_reduce_add_ps(squares) / (float)c + eps);
    const float back = r * r * _mm512_reduce_add_ps(along) / (float)c; /* r mean(g n), to be multiplied by u */
    for (long k = 0; k < c; k += LANES) {
      const mask16 m = lanes(c - k);
      const f32x16 raw = load(x, i * c + k, (int)x_full, m), u = leaky(raw, before);
      const f32x16 g = sloped(load(dy, i * c + k, (int)dy_full, m), u, after);
      const f32x16 du = _mm512_mul_ps(_mm512_set1_ps(r), _mm512_fnmadd_ps(_mm512_set1_ps(back), u, g));
      store(dx, i * c + k, (int)dx_full, sloped(du, raw, before), m);
    }
  }
}

/* ---- dropout, and the largest of several pieces ----------------------------------------------------------------- */

/* Whether sixteen numbers are kept: those whose byte is below the threshold. */
INLINE mask16 kept(const uint8_t *bytes, long threshold, mask16 m) {
  return _mm_mask_cmplt_epu8_mask(m, _mm_maskz_loadu_epi8(m, bytes), _mm_set1_epi8((char)threshold));
}

/* y = scale x where the byte is below the threshold (1 to 255), else 0; its own gradient. */
void drop(const void *x, long x_full, const uint8_t *bytes, long threshold, float scale, void *y, long y_full, long n) {
  for (long k = 0; k < n; k += LANES) {
    const mask16 m = lanes(n - k);
    const f32x16 all = _mm512_mul_ps(load(x, k, (int)x_full, m), _mm512_set1_ps(scale));
    store(y, k, (int)y_full, _mm512_maskz_mov_ps(kept(bytes + k, threshold, m), all), m);
  }
}

/* y (rows, units) = the largest of x (rows, pieces, units). */
void maxout(const bf16 *x, bf16 *y, long rows, long pieces, long units) {
  for (long i = 0; i < rows; i++)
    for (long k = 0; k < units; k += LANES) {
      const mask16 m = lanes(units - k);
      f32x16 best = load_bf16(x + i * pieces * units + k, m);
      for (long p = 1; p < pieces; p++) best = larger(best, load_bf16(x + (i * pieces + p) * units + k, m));
      store_bf16(y + i * units + k, best, m);
    }
}

/* dx of the above: equal pieces share dy; where one is NaN, all do. */
void maxout_backward(const bf16 *x, const void *dy, long full, bf16 *dx, long rows, long pieces, long units) {
  for (long i = 0; i < rows; i++)
    for (long k = 0; k < units; k += LANES) {
      const mask16 m = lanes(units - k);
      const bf16 *from = x + i * pieces * units + k;
      f32x16 best = load_bf16(from, m), count = _mm512_setzero_ps();
      for (long p = 1; p < pieces; p++) best = larger(best, load_bf16(from + p * units, m));
      for (long p = 0; p < pieces; p++) {
        const mask16 equal = _mm512_cmp_ps_mask(load_bf16(from + p * units, m), best, _CMP_EQ_UQ);
        count = _mm512_mask_add_ps(count, equal, count, _mm512_set1_ps(1));
      }
      const f32x16 each = _mm512_div_ps(load(dy, i * units + k, (int)full, m), count);
      for (long p = 0; p < pieces; p++) {
        const mask16 equal = _mm512_cmp_ps_mask(load_bf16(from + p * units, m), best, _CMP_EQ_UQ);
        store_bf16(dx + (i * pieces + p) * units + k, _mm512_maskz_mov_ps(equal, each), m);
      }
    }
}

/* ---- tanh, and products of rows --------------------------------------------------------------------------------- */

/* y = tanh(a x), fp32. */
void tanh_all(const void *x, long full, float a, float *y, long n) {
  for (long k = 0; k < n; k += LANES) {
    const mask16 m = lanes(n - k);
    _mm512_mask_storeu_ps(y + k, m, tangent(_mm512_mul_ps(_mm512_set1_ps(a), load(x, k, (int)full, m))));
  }
}

/* dx = a (1 - y^2) dy. */
void tanh_backward(const float *y, const float *dy, float a, void *dx, long full, long n) {
  for (long k = 0; k < n; k += LANES) {
    const mask16 m = lanes(n - k);
    const f32x16 made = _mm512_maskz_loadu_ps(m, y + k);
    const f32x16 slope = _mm512_mul_ps(_mm512_set1_ps(a), _mm512_fnmadd_ps(made, made, _mm512_set1_ps(1)));
    store(dx, k, (int)full, _mm512_mul_ps(slope, _mm512_maskz_loadu_ps(m, dy + k)), m);
  }
}

/* dots[i] = a (n, size) times b (1 or n, size), row by row. */
void row_dots(const void *a, long a_full, const void *b, long b_full, long b_step, float *dots, long n, long size) {
  for (long i = 0; i < n; i++) {
    f32x16 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    for (long k = 0; k < size; k += LANES) {
      const mask16 m = lanes(size - k);
      const f32x16 left = load(a, i * size + k, (int)a_full, m), right = load(b, i * b_step + k, (int)b_full, m);
      sums[k / LANES % 2] = _mm512_fmadd_ps(left, right, sums[k / LANES % 2]);
    }
    dots[i] = _mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1]));
  }
}
