/* Affine maps of steps with the gradients of their weights, and levels and increments along axes; see steps.h. */
#pragma GCC optimize("O3") /* loops over a few registers want to be unrolled */
#include "steps.h"

INLINE void affine_panel(const int vectors, long at, const float *a, long down, long apart, const float *bias,
                         const float *x, long depth, float *y, long rows, long time, long batch) {
  mask16 m[MOST];
  masks(vectors, batch - at, m);
  for (long t = 0; t < time; t++)
    affine_rows(vectors, a, down, apart, bias, x + t * depth * batch + at, depth, y + t * rows * batch + at, rows,
                batch, m);
}

/* y (time, rows, batch) = a x + bias for each step of x (time, depth, batch); a by its strides, bias or none. */
void affine_steps(const float *a, long down, long apart, const float *bias, const float *x, long depth, float *y,
                  long rows, long time, long batch, long threads) {
  FOR_PANELS(affine_panel, p, a, down, apart, bias, x, depth, y, rows, time, batch)
}

/* Features (rows of the batch) as columns: to (batch, 64), of at most 64 each. */
INLINE void transposed(const float *b, long line, long features, long count, float *to) {
  for (long f = 0; f < features; f += LANES)
    for (long k = 0; k < count; k += LANES) {
      __m512i block[16];
      const mask16 m = lanes(count - k);
      for (int i = 0; i < LANES; i++)
        block[i] = f + i < features ? _mm512_castps_si512(_mm512_maskz_loadu_ps(m, b + (f + i) * line + k))
                                    : _mm512_setzero_si512();
      transpose(block);
      for (int i = 0; i < LANES; i++) _mm512_store_si512(to + (k + i) * MOST * LANES + f, block[i]);
    }
}

INLINE void weight_panel(const int vectors, const float *a, long a_step, const float *b, long b_step, float *out,
                         long first, long last, long column, long columns, long time, long batch, float *sums,
                         float *to) {
  const mask16 m[MOST] = {0xffff, 0xffff, 0xffff, 0xffff};
  memset(sums, 0, (size_t)((last - first + ROWS) * MOST * LANES) * sizeof(float));
  for (long t = 0; t < time; t++)
    for (long k = 0; k < batch; k += MOST * LANES) {
      const long count = least(MOST * LANES, batch - k);
      transposed(b + t * b_step + column * batch + k, batch, least(MOST * LANES, columns - column), count, to);
      for (long row = first; row < last; row += ROWS) {
        const float *from[ROWS];
        f32x16 found[ROWS * MOST];
        float *line = sums + (row - first) * MOST * LANES;
#pragma GCC unroll 6
        for (int r = 0; r < ROWS; r++) {
          from[r] = a + t * a_step + least(row + r, last - 1) * batch + k;
#pragma GCC unroll 4
          for (int v = 0; v < vectors; v++) found[r * vectors + v] = _mm512_load_ps(line + (r * MOST + v) * LANES);
        }
        multiply(vectors, from, 1, count, to, MOST * LANES, m, found);
#pragma GCC unroll 6
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
          for (int v = 0; v < vectors; v++) _mm512_store_ps(line + (r * MOST + v) * LANES, found[r * vectors + v]);
      }
    }
  for (long row = first; row < last; row++)
    memcpy(out + row * columns + column, sums + (row - first) * MOST * LANES,
           (size_t)least(MOST * LANES, columns - column) * sizeof(float));
}

/* out (rows, columns) = sum over steps of a (rows, batch) times b (columns, batch) transposed; steps lie so many
 * numbers apart. */
void weight_steps(const float *a, long a_step, const float *b, long b_step, float *out, long rows, long columns,
                  long time, long batch, long threads) {
  const long tiles = (rows + ROWS - 1) / ROWS, each = (tiles + threads - 1) / threads * ROWS;
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
  for (long first = 0; first < rows; first += each) {
    float *to = room(MOST * LANES * MOST * LANES * 4), *sums = room((each + ROWS) * MOST * LANES * 4);
    for (long c = 0; c < columns; c += MOST * LANES) {
      const long last = least(rows, first + each), left = columns - c;
#define PANEL_OF(n) weight_panel(n, a, a_step, b, b_step, out, first, last, c, columns, time, batch, sums, to)
      if (left > 32) PANEL_OF(4);
      else if (left > 16) PANEL_OF(2);
      else PANEL_OF(1);
#undef PANEL_OF
    }
    free(sums);
    free(to);
  }
}

/* sums[row] = sum of a row over steps (which lie so many numbers apart) and batch. */
void sum_steps(const float *a, long a_step, float *sums, long rows, long time, long batch) {
  for (long row = 0; row < rows; row++) {
    f32x16 all = _mm512_setzero_ps();
    for (long t = 0; t < time; t++)
      for (long k = 0; k < batch; k += LANES)
        all = _mm512_add_ps(all, _mm512_maskz_loadu_ps(lanes(batch - k), a + t * a_step + row * batch + k));
    sums[row] = _mm512_reduce_add_ps(all);
  }
}

/* ---- levels and increments along axes ---------------------------------------------------------------------------- */

typedef struct {
  const float *mean, *level, *step;  /* (features), and two matrices (features, features) */
  long time, features, batch;
} Axes;

/* to (features, 64) = a - b, or that is added, where there are a and b (rows of the batch). */
INLINE void moved(const int vectors, float *to, int added, const float *a, const float *b, const Axes *s,
                  const mask16 *m) {
  for (long f = 0; f < s->features; f++)
    for (int v = 0; v < vectors; v++) {
      const long at = f * s->batch + v * LANES;
      const f32x16 one = a ? _mm512_maskz_loadu_ps(m[v], a + at) : _mm512_setzero_ps();
      const f32x16 two = b ? _mm512_maskz_loadu_ps(m[v], b + at) : _mm512_setzero_ps();
      float *line = to + (f * MOST + v) * LANES;
      f32x16 sum = _mm512_sub_ps(one, two);
      if (added) sum = _mm512_add_ps(sum, _mm512_load_ps(line));
      _mm512_store_ps(line, sum);
    }
}

INLINE void along_panel(const int vectors, long at, const Axes *s, const float *x, float *y) {
  const long n = s->features, size = n * s->batch;
  float *steps = zeros(s->features * MOST * LANES * 4);
  mask16 m[MOST];
  masks(vectors, s->batch - at, m);
  for (long t = 0; t < s->time; t++) {
    const float *here = x + t * size + at;
    float *to = y + 2 * t * size + at;
    for (long f = 0; f < n; f++)
      for (int v = 0; v < vectors; v++) {
        const f32x16 one = _mm512_maskz_loadu_ps(m[v], here + f * s->batch + v * LANES);
        _mm512_store_ps(steps + (f * MOST + v) * LANES, _mm512_sub_ps(one, _mm512_set1_ps(s->mean[f])));
      }
    const Term level = {s->level, n, 1, steps, MOST * LANES, n}, step = {s->step, n, 1, steps, MOST * LANES, n};
    sum_rows(vectors, &level, 1, NULL, to, n, s->batch, m);
    moved(vectors, steps, 0, t ? here : NULL, t ? here - size : NULL, s, m); /* the first step has no increment */
    sum_rows(vectors, &step, 1, NULL, to + size, n, s->batch, m);
  }
  free(steps);
}

/* y (time, 2 features, batch): level (x - mean), then step (x[t] - x[t - 1]). */
void along_axes(const Axes *s, const float *x, float *y, long threads) {
  const long batch = s->batch;
  FOR_PANELS(along_panel, p, s, x, y)
}

INLINE void along_back_panel(const int vectors, long at, const Axes *s, const float *dy, float *dx) {
  const long n = s->features, size = n * s->batch;
  float *steps = zeros(s->features * MOST * LANES * 4);
  mask16 m[MOST];
  masks(vectors, s->batch - at, m);
  for (long t = 0; t < s->time; t++) {
    const float *here = dy + 2 * t * size + at;
    moved(vectors, steps, 0, t ? here + size : NULL, t + 1 < s->time ? here + 3 * size : NULL, s, m);
    const Term terms[2] = {{s->level, 1, n, here, s->batch, n}, {s->step, 1, n, steps, MOST * LANES, n}};
    sum_rows(vectors, terms, 2, NULL, dx + t * size + at, n, s->batch, m);
  }
  free(steps);
}

void along_axes_back(const Axes *s, const float *dy, float *dx, long threads) {
  const long batch = s->batch;
  FOR_PANELS(along_back_panel, p, s, dy, dx)
}

INLINE void from_panel(const int vectors, long at, const Axes *s, const float *y, float *x) {
  const long n = s->features, size = n * s->batch;
  float *sum = zeros(s->features * MOST * LANES * 4);
  mask16 m[MOST];
  masks(vectors, s->batch - at, m);
  for (long t = 0; t < s->time; t++) {
    const float *here = y + 2 * t * size + at;
    moved(vectors, sum, 1, here + size, NULL, s, m);
    const Term terms[2] = {{s->level, n, 1, here, s->batch, n}, {s->step, n, 1, sum, MOST * LANES, n}};
    sum_rows(vectors, terms, 2, s->mean, x + t * size + at, n, s->batch, m);
  }
  free(sum);
}

/* x (time, features, batch) = mean + level y[:features] + step times the sum of y[features:] so far. */
void from_axes(const Axes *s, const float *y, float *x, long threads) {
  const long batch = s->batch;
  FOR_PANELS(from_panel, p, s, y, x)
}

INLINE void from_back_panel(const int vectors, long at, const Axes *s, const float *dx, float *dy) {
  const long n = s->features, size = n * s->batch;
  float *sum = zeros(s->features * MOST * LANES * 4);
  mask16 m[MOST];
  masks(vectors, s->batch - at, m);
  for (long t = s->time - 1; t >= 0; t--) {
    const float *here = dx + t * size + at;
    float *to = dy + 2 * t * size + at;
    moved(vectors, sum, 1, here, NULL, s, m);
    const Term level = {s->level, 1, n, here, s->batch, n}, step = {s->step, 1, n, sum, MOST * LANES, n};
    sum_rows(vectors, &level, 1, NULL, to, n, s->batch, m);
    sum_rows(vectors, &step, 1, NULL, to + size, n, s->batch, m);
  }
  free(sum);
}

void from_axes_back(const Axes *s, const float *dx, float *dy, long threads) {
  const long batch = s->batch;
  FOR_PANELS(from_back_panel, p, s, dx, dy)
}
