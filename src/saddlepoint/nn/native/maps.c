/* Maps divided by their deviation, and sums of residual blocks at half and at twice the size, each in few passes.
 *
 * Images are (n, places, c), or (n, h, w, c). Numbers are bf16 or fp32 ("full"), and are computed with in fp32.
 */
#pragma GCC optimize("O3") /* loops over a few registers want to be unrolled */
#include "room.h"
#include "vectors.h"

/* ---- maps divided by their deviation ---------------------------------------------------------------------------- */

enum { WIDE = 4 * LANES };

/* Images are read as rows of a whole number of pixels, four registers at a time: so many numbers a row. */
static long row_of_pixels(long places, long c) {
  return c < WIDE && WIDE % c == 0 && places * c % WIDE == 0 ? WIDE : c;
}

/* Per channel: mean, 1 / deviation, gain / deviation, offset, and two sums; each repeated over a row. */
typedef struct {
  float *mean, *inverse, *slope, *offset, *one, *two;
  long row;
} Maps;

static Maps maps_of(long row) {
  const long step = row + WIDE;
  float *p = room(6 * step * (long)sizeof(float));
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

/* A call with constants for which numbers are fp32, which spares a question for each register. */
#define BY_KINDS(function, one, two, ...)                                    \
  {                                                                          \
    if (!(one) && !(two)) function(0, 0, __VA_ARGS__);                       \
    else if (!(one)) function(0, 1, __VA_ARGS__);                            \
    else if (!(two)) function(1, 0, __VA_ARGS__);                            \
    else function(1, 1, __VA_ARGS__);                                        \
  }

#define EACH for (int v = 0; v < 4; v++)

INLINE void four_masks(long left, mask16 m[4]) {
#pragma GCC unroll 4
  EACH m[v] = lanes_or_none(left - v * LANES);
}

INLINE void load_four(const float *from, const mask16 m[4], f32x16 to[4]) {
#pragma GCC unroll 4
  EACH to[v] = _mm512_maskz_loadu_ps(m[v], from + v * LANES);
}

INLINE void store_four(float *to, const mask16 m[4], const f32x16 from[4]) {
#pragma GCC unroll 4
  EACH _mm512_mask_storeu_ps(to + v * LANES, m[v], from[v]);
}

/* Of z = slope (x - mean) + offset. */
INLINE void load_maps(const Maps *maps, long k, const mask16 m[4], f32x16 slope[4], f32x16 offset[4],
                      f32x16 mean[4]) {
  load_four(maps->slope + k, m, slope);
  load_four(maps->offset + k, m, offset);
  load_four(maps->mean + k, m, mean);
}

/* Sixteen numbers of row i, v registers behind column k: where they lie. */
INLINE long place(long at, long i, const Maps *maps, long k, int v) { return at + i * maps->row + k + v * LANES; }

INLINE void sums_of(const void *x, long at, const int full, long rows, const Maps *maps) {
  for (long k = 0; k < maps->row; k += WIDE) {
    mask16 m[4];
    four_masks(maps->row - k, m);
    f32x16 s[4] = {0};
    for (long i = 0; i < rows; i++)
#pragma GCC unroll 4
      EACH s[v] = _mm512_add_ps(s[v], load(x, place(at, i, maps, k, v), full, m[v]));
    store_four(maps->mean + k, m, s);
  }
}

/* Of the distance to the mean: one pass over sums of squares would lose what a large mean drowns. */
INLINE void squares_of(const void *x, long at, const int full, long rows, const Maps *maps) {
  for (long k = 0; k < maps->row; k += WIDE) {
    mask16 m[4];
    four_masks(maps->row - k, m);
    f32x16 s[4] = {0}, mean[4];
    load_four(maps->mean + k, m, mean);
    for (long i = 0; i < rows; i++)
#pragma GCC unroll 4
      EACH {
        const f32x16 d = _mm512_sub_ps(load(x, place(at, i, maps, k, v), full, m[v]), mean[v]);
        s[v] = _mm512_fmadd_ps(d, d, s[v]);
      }
    store_four(maps->inverse + k, m, s);
  }
}

INLINE void written(const void *x, long at, const int x_full, const void *beside, const int beside_full, float slope,
                    void *y, const int y_full, long rows, const Maps *maps) {
  for (long k = 0; k < maps->row; k += WIDE) {
    mask16 m[4];
    four_masks(maps->row - k, m);
    f32x16 a[4], b[4], mean[4];
    load_maps(maps, k, m, a, b, mean);
    for (long i = 0; i < rows; i++)
#pragma GCC unroll 4
      EACH {
        const long here = place(at, i, maps, k, v);
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
void instance_norm(const void *x, long x_full, const float *gain, const float *offset, long step, float one,
                   float slope, float eps, const void *beside, long beside_full, void *y, long y_full, float *stats,
                   long n, long places, long c, long threads) {
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

/* With g = dy before the LeakyReLU: the sums of g, and of g times x less its mean. */
INLINE void sums_before(const int x_full, const int dy_full, const void *x, const void *dy, long at, float slope,
                        long rows, const Maps *maps) {
  for (long k = 0; k < maps->row; k += WIDE) {
    mask16 m[4];
    four_masks(maps->row - k, m);
    f32x16 a[4], b[4], mean[4], one[4] = {0}, two[4] = {0};
    load_maps(maps, k, m, a, b, mean);
    for (long i = 0; i < rows; i++)
#pragma GCC unroll 4
      EACH {
        const long here = place(at, i, maps, k, v);
        const f32x16 off = _mm512_sub_ps(load(x, here, x_full, m[v]), mean[v]);
        const f32x16 z = _mm512_fmadd_ps(a[v], off, b[v]), g = sloped(load(dy, here, dy_full, m[v]), z, slope);
        one[v] = _mm512_add_ps(one[v], g);
        two[v] = _mm512_fmadd_ps(g, off, two[v]);
      }
    store_four(maps->one + k, m, one);
    store_four(maps->two + k, m, two);
  }
}

/* dx = slope (g - mean g - (x - mean) inverse^2 mean(g (x - mean))). */
INLINE void written_before(const int x_full, const int dy_full, const void *x, const void *dy, long at, float slope,
                           void *dx, long rows, const Maps *maps) {
  for (long k = 0; k < maps->row; k += WIDE) {
    mask16 m[4];
    four_masks(maps->row - k, m);
    f32x16 a[4], b[4], mean[4], one[4], two[4];
    load_maps(maps, k, m, a, b, mean);
    load_four(maps->one + k, m, one);
    load_four(maps->two + k, m, two);
    for (long i = 0; i < rows; i++)
#pragma GCC unroll 4
      EACH {
        const long here = place(at, i, maps, k, v);
        const f32x16 off = _mm512_sub_ps(load(x, here, x_full, m[v]), mean[v]);
        const f32x16 z = _mm512_fmadd_ps(a[v], off, b[v]), g = sloped(load(dy, here, dy_full, m[v]), z, slope);
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
      for (long k = 0; k < row; k++) {
        maps.mean[k] = stats[2 * i * c + k % c];
        maps.inverse[k] = stats[(2 * i + 1) * c + k % c];
      }
      coefficients(&maps, gain + i * step, offset + i * step, one, c);
      BY_KINDS(sums_before, x_full, dy_full, x, dy, at, slope, rows, &maps)
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
      BY_KINDS(written_before, x_full, dy_full, x, dy, at, slope, dx, rows, &maps)
    }
    free(maps.mean);
  }
}

/* ---- sums of residual blocks, at half and at twice the size ----------------------------------------------------- */

/* y = LeakyReLU(x) of `slope`, in bf16; any number of numbers. */
void leaky_rows(const void *x, long full, float slope, bf16 *y, long n, long threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
  for (long k = 0; k < n; k += LANES) {
    const mask16 m = lanes(n - k);
    store_bf16(y + k, leaky(load(x, k, (int)full, m), slope), m);
  }
}

/* y (n, h, w, c) = the means of squares of four of x (n, 2 h, 2 w, c), times `scale`. */
void halve(const void *x, long x_full, void *y, long y_full, float scale, long n, long h, long w, long c,
           long threads) {
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
void enlarge(const void *x, long x_full, const void *beside, long beside_full, float scale, long f, void *y,
             long y_full, long n, long h, long w, long c, long threads) {
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
