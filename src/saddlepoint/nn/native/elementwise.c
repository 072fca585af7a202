/* What stands between products, each in one pass: slopes of LeakyReLU, sums of columns, root mean squares of rows.
 *
 * Rows lie in memory one after another: samples of features, or pixels of channels. Numbers are bf16 or fp32 ("full"),
 * and are computed with in fp32.
 */
#pragma GCC optimize("O3") /* loops over a few registers want to be unrolled */
#include "functions.h"
#include "vectors.h"

/* out = v times the slope of the LeakyReLU that made `activated`; v (1 or n, size), the others (n, size). */
void times_slope(const void *v, long v_full, long v_step, const bf16 *activated, float slope, bf16 *out, long n, long size,
                 long threads) {
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
void rms_rows(const void *x, long full, float before, float after, float eps, bf16 *y, long rows, long c, long threads) {
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

/* ---- tanh, and products of rows ----------------------------------------------------------------------------------- */

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

/* ---- maps divided by their deviation ---------------------------------------------------------------------------- */

/* Images (n, places, c) are read as rows of a whole number of pixels, four registers at a time: so many numbers a row. */
static long row_of_pixels(long places, long c) { return c < 64 && 64 % c == 0 && places * c % 64 == 0 ? 64 : c; }

/* Per channel: mean, 1 / deviation, gain / deviation, offset, and two sums; each repeated over a row. */
typedef struct {
  float *mean, *inverse, *slope, *offset, *one, *two;
  long row;
} Maps;

static Maps maps_of(long row) {
  float *p = malloc((size_t)(6 * row + 6 * 64) * sizeof(float));
  const long step = row + 64; /* registers are read in full */
  return (Maps){p, p + step, p + 2 * step, p + 3 * step, p + 4 * step, p + 5 * step, row};
}

/* Add the parts of a row up to channels, and repeat those. */
static void over_row(float *sums, long row, long c, float factor) {
  for (long k = c; k < row; k++) sums[k % c] += sums[k];
  for (long k = 0; k < c; k++) sums[k] *= factor;
  for (long k = c; k < row; k++) sums[k] = sums[k % c];
}

static void coefficients(const Maps *m, const float *gain, const float *offset, float one, long c) {
  for (long k = 0; k < m->row; k++) {
    m->slope[k] = (gain[k % c] + one) * m->inverse[k];
    m->offset[k] = offset[k % c];
  }
}

#define ROWS_OF_FOUR(rows, row)                                                              \
  for (long k = 0; k < row; k += 64) {                                                       \
    const mask16 m[4] = {lanes_or_none(row - k), lanes_or_none(row - k - 16), lanes_or_none(row - k - 32), \
                         lanes_or_none(row - k - 48)};
#define EACH for (int v = 0; v < 4; v++)

INLINE void sums_of(const void *x, long at, const int full, long rows, const Maps *maps) {
  ROWS_OF_FOUR(rows, maps->row)
    f32x16 s[4] = {0};
    for (long i = 0; i < rows; i++)
#pragma GCC unroll 4
      EACH s[v] = _mm512_add_ps(s[v], load(x, at + i * maps->row + k + 16 * v, full, m[v]));
    EACH _mm512_mask_storeu_ps(maps->mean + k + 16 * v, m[v], s[v]);
  }
}

/* Of the distance to the mean: one pass over sums of squares would lose what a large mean drowns. */
INLINE void squares_of(const void *x, long at, const int full, long rows, const Maps *maps) {
  ROWS_OF_FOUR(rows, maps->row)
    f32x16 s[4] = {0}, mean[4];
    EACH mean[v] = _mm512_maskz_loadu_ps(m[v], maps->mean + k + 16 * v);
    for (long i = 0; i < rows; i++)
#pragma GCC unroll 4
      EACH {
        const f32x16 d = _mm512_sub_ps(load(x, at + i * maps->row + k + 16 * v, full, m[v]), mean[v]);
        s[v] = _mm512_fmadd_ps(d, d, s[v]);
      }
    EACH _mm512_mask_storeu_ps(maps->inverse + k + 16 * v, m[v], s[v]);
  }
}

INLINE void written(const void *x, long at, const int x_full, const void *beside, const int beside_full, float slope,
                    void *y, const int y_full, long rows, const Maps *maps) {
  ROWS_OF_FOUR(rows, maps->row)
    f32x16 a[4], b[4], mean[4];
    EACH a[v] = _mm512_maskz_loadu_ps(m[v], maps->slope + k + 16 * v);
    EACH b[v] = _mm512_maskz_loadu_ps(m[v], maps->offset + k + 16 * v);
    EACH mean[v] = _mm512_maskz_loadu_ps(m[v], maps->mean + k + 16 * v);
    for (long i = 0; i < rows; i++)
#pragma GCC unroll 4
      EACH {
        const long here = at + i * maps->row + k + 16 * v;
        f32x16 z = _mm512_fmadd_ps(a[v], _mm512_sub_ps(load(x, here, x_full, m[v]), mean[v]), b[v]);
        if (slope != 1) z = leaky(z, slope);
        if (beside) z = _mm512_add_ps(z, load(beside, here, beside_full, m[v]));
        store(y, here, y_full, z, m[v]);
      }
  }
}

/* y = LeakyReLU((one + gain) (x - mean) / sqrt(variance + eps) + offset) of `slope` + beside: each map of each image on
 * its own. x, y, beside (n, places, c); gain and offset are `step` numbers apart for each image; stats (n, 2, c) keeps
 * mean and 1 / deviation. */
void instance_norm(const void *x, long x_full, const float *gain, const float *offset, long step, float one, float slope,
                   float eps, const void *beside, long beside_full, void *y, long y_full, float *stats, long n,
                   long places, long c, long threads) {
  const long row = row_of_pixels(places, c), rows = places * c / row;
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const Maps maps = maps_of(row);
#pragma omp for schedule(static)
    for (long i = 0; i < n; i++) {
      const long at = i * places * c;
      if (x_full) sums_of(x, at, 1, rows, &maps);
      else sums_of(x, at, 0, rows, &maps);
      over_row(maps.mean, row, c, 1 / (float)places);
      if (x_full) squares_of(x, at, 1, rows, &maps);
      else squares_of(x, at, 0, rows, &maps);
      over_row(maps.inverse, row, c, 1 / (float)places);
      for (long k = 0; k < row; k++) maps.inverse[k] = 1 / __builtin_sqrtf(maps.inverse[k] + eps);
      memcpy(stats + 2 * i * c, maps.mean, (size_t)c * sizeof(float));
      memcpy(stats + (2 * i + 1) * c, maps.inverse, (size_t)c * sizeof(float));
      coefficients(&maps, gain + i * step, offset + i * step, one, c);
      if (!x_full && !y_full && !beside) written(x, at, 0, NULL, 0, slope, y, 0, rows, &maps);
      else if (!x_full && y_full && beside && beside_full) written(x, at, 0, beside, 1, slope, y, 1, rows, &maps);
      else if (x_full && !y_full && !beside) written(x, at, 1, NULL, 0, slope, y, 0, rows, &maps);
      else written(x, at, (int)x_full, beside, (int)beside_full, slope, y, (int)y_full, rows, &maps);
    }
    free(maps.mean);
  }
}

/* g = dy before the LeakyReLU, and x less its mean. */
#define BEFORE                                                                                         \
  const long here = at + i * maps->row + k + 16 * v;                                                   \
  const f32x16 off = _mm512_sub_ps(load(x, here, x_full, m[v]), mean[v]);                              \
  const f32x16 z = _mm512_fmadd_ps(a[v], off, b[v]);                                                   \
  const f32x16 g = sloped(load(dy, here, dy_full, m[v]), z, slope);

INLINE void sums_before(const void *x, long at, const int x_full, const void *dy, const int dy_full, float slope,
                        long rows, const Maps *maps) {
  ROWS_OF_FOUR(rows, maps->row)
    f32x16 a[4], b[4], mean[4], one[4] = {0}, two[4] = {0};
    EACH a[v] = _mm512_maskz_loadu_ps(m[v], maps->slope + k + 16 * v);
    EACH b[v] = _mm512_maskz_loadu_ps(m[v], maps->offset + k + 16 * v);
    EACH mean[v] = _mm512_maskz_loadu_ps(m[v], maps->mean + k + 16 * v);
    for (long i = 0; i < rows; i++)
#pragma GCC unroll 4
      EACH {
        BEFORE
        one[v] = _mm512_add_ps(one[v], g);
        two[v] = _mm512_fmadd_ps(g, off, two[v]);
      }
    EACH _mm512_mask_storeu_ps(maps->one + k + 16 * v, m[v], one[v]);
    EACH _mm512_mask_storeu_ps(maps->two + k + 16 * v, m[v], two[v]);
  }
}

/* dx = slope (g - mean g - (x - mean) inverse^2 mean(g (x - mean))). */
INLINE void written_before(const void *x, long at, const int x_full, const void *dy, const int dy_full, float slope,
                           void *dx, long rows, const Maps *maps) {
  ROWS_OF_FOUR(rows, maps->row)
    f32x16 a[4], b[4], mean[4], one[4], two[4];
    EACH a[v] = _mm512_maskz_loadu_ps(m[v], maps->slope + k + 16 * v);
    EACH b[v] = _mm512_maskz_loadu_ps(m[v], maps->offset + k + 16 * v);
    EACH mean[v] = _mm512_maskz_loadu_ps(m[v], maps->mean + k + 16 * v);
    EACH one[v] = _mm512_maskz_loadu_ps(m[v], maps->one + k + 16 * v);
    EACH two[v] = _mm512_maskz_loadu_ps(m[v], maps->two + k + 16 * v);
    for (long i = 0; i < rows; i++)
#pragma GCC unroll 4
      EACH {
        BEFORE
        const f32x16 left = _mm512_fnmadd_ps(off, two[v], _mm512_sub_ps(g, one[v]));
        store(dx, here, x_full, _mm512_mul_ps(a[v], left), m[v]);
      }
  }
}

/* The way back of the above: dx, like x, and dgain and doffset (n, 2, c); what stood beside gets dy itself. */
void instance_norm_backward(const void *x, long x_full, const void *dy, long dy_full, const float *gain,
                            const float *offset, long step, float one, float slope, const float *stats, void *dx,
                            float *sums, long n, long places, long c, long threads) {
  const long row = row_of_pixels(places, c), rows = places * c / row;
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const Maps maps = maps_of(row);
#pragma omp for schedule(static)
    for (long i = 0; i < n; i++) {
      const long at = i * places * c;
      for (long k = 0; k < row; k++) maps.mean[k] = stats[2 * i * c + k % c], maps.inverse[k] = stats[(2 * i + 1) * c + k % c];
      coefficients(&maps, gain + i * step, offset + i * step, one, c);
      if (!x_full && !dy_full) sums_before(x, at, 0, dy, 0, slope, rows, &maps);
      else if (!x_full) sums_before(x, at, 0, dy, 1, slope, rows, &maps);
      else if (!dy_full) sums_before(x, at, 1, dy, 0, slope, rows, &maps);
      else sums_before(x, at, 1, dy, 1, slope, rows, &maps);
      over_row(maps.one, row, c, 1);
      over_row(maps.two, row, c, 1);
      for (long k = 0; k < c; k++) {
        sums[2 * i * c + k] = maps.two[k] * maps.inverse[k];
        sums[(2 * i + 1) * c + k] = maps.one[k];
      }
      for (long k = 0; k < row; k++) {
        maps.one[k] /= (float)places;
        maps.two[k] *= maps.inverse[k] * maps.inverse[k] / (float)places;
      }
      if (!x_full && !dy_full) written_before(x, at, 0, dy, 0, slope, dx, rows, &maps);
      else if (!x_full) written_before(x, at, 0, dy, 1, slope, dx, rows, &maps);
      else if (!dy_full) written_before(x, at, 1, dy, 0, slope, dx, rows, &maps);
      else written_before(x, at, 1, dy, 1, slope, dx, rows, &maps);
    }
    free(maps.mean);
  }
}

/* ---- sums of residual blocks, at half and at twice the size ------------------------------------------------------- */

/* y = LeakyReLU(x) of `slope`, in bf16; any number of numbers. */
void leaky_rows(const void *x, long full, float slope, bf16 *y, long n, long threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
  for (long k = 0; k < n; k += LANES) {
    const mask16 m = lanes(n - k);
    store_bf16(y + k, leaky(load(x, k, (int)full, m), slope), m);
  }
}

/* y (n, h, w, c) = the means of squares of four of x (n, 2 h, 2 w, c), times `scale`. */
void halve(const void *x, long x_full, void *y, long y_full, float scale, long n, long h, long w, long c, long threads) {
  const f32x16 s = _mm512_set1_ps(scale / 4);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
  for (long r = 0; r < n * h; r++)
    for (long q = 0; q < w; q++)
      for (long k = 0; k < c; k += LANES) {
        const mask16 m = lanes(c - k);
        const long at = (2 * r * 2 * w + 2 * q) * c + k, below = at + 2 * w * c;
        const f32x16 one = _mm512_add_ps(load(x, at, (int)x_full, m), load(x, at + c, (int)x_full, m));
        const f32x16 two = _mm512_add_ps(load(x, below, (int)x_full, m), load(x, below + c, (int)x_full, m));
        store(y, (r * w + q) * c + k, (int)y_full, _mm512_mul_ps(s, _mm512_add_ps(one, two)), m);
      }
}

/* y (n, f h, f w, c) = scale (x + beside), where x (n, h, w, c) has each pixel f times in both directions, f 1 or 2;
 * without what stands beside: scale x. */
void enlarge(const void *x, long x_full, const void *beside, long beside_full, float scale, long f, void *y, long y_full,
             long n, long h, long w, long c, long threads) {
  const f32x16 s = _mm512_set1_ps(scale);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
  for (long r = 0; r < n * f * h; r++)
    for (long q = 0; q < f * w; q++)
      for (long k = 0; k < c; k += LANES) {
        const mask16 m = lanes(c - k);
        const long to = (r * f * w + q) * c + k;
        f32x16 z = load(x, (r / f * w + q / f) * c + k, (int)x_full, m);
        if (beside) z = _mm512_add_ps(z, load(beside, to, (int)beside_full, m));
        store(y, to, (int)y_full, _mm512_mul_ps(s, z), m);
      }
}
