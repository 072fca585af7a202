/* Gated recurrent units, forward and back; see steps.h. */
#pragma GCC optimize("O3") /* loops over a few registers want to be unrolled */
#include "functions.h"
#include "steps.h"

/* ---- GRU: r, z = sigmoid(W x + U h + b); n = tanh(W_n x + b_n + r (U_n h + c)); h' = n + z (h - n) -------------- */

typedef struct {
  const float *weight, *hidden, *bias, *inner; /* W (3 width, inputs), U (3 width, width), b (3 width), c (width) */
  float *gates, *inside, *states;              /* r, z, n (time, 3 width, batch); U_n h + c; h (time, width, batch) */
  long time, inputs, width, batch;
} GRU;

/* Of the step before; h_0 = 0. */
INLINE f32x16 state(const float *before, long at, mask16 m) {
  return before ? _mm512_maskz_loadu_ps(m, before + at) : _mm512_setzero_ps();
}

/* Two units at a time: their three gates are the six rows of a tile. */
INLINE void gru_units(const int vectors, const GRU *g, long at, long t, long unit, const float *x, const float *before,
                      const mask16 *m) {
  const long w = g->width, units[2] = {unit, least(unit + 1, w - 1)};
  const float *from[ROWS];
  f32x16 sums[ROWS * MOST];
  /* Sums that are there are looked up by number: only those in registers must not be. */
  float made[(ROWS + 2) * MOST * LANES] __attribute__((aligned(64)));
#pragma GCC unroll 6
  for (int r = 0; r < ROWS; r++) {
    const long row = r / 2 * w + units[r % 2];
    from[r] = g->weight + row * g->inputs;
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) sums[r * vectors + v] = _mm512_set1_ps(g->bias[row]);
  }
  multiply(vectors, from, 1, g->inputs, x, g->batch, m, sums);
#pragma GCC unroll 8
  for (int i = 0; i < 2 * vectors; i++) {
    /* W_n x + b_n stands outside of the reset gate. */
    _mm512_store_ps(made + (ROWS * vectors + i) * LANES, sums[4 * vectors + i]);
    sums[4 * vectors + i] = _mm512_set1_ps(g->inner[units[i / vectors]]);
  }
#pragma GCC unroll 6
  for (int r = 0; r < ROWS; r++) from[r] = g->hidden + (r / 2 * w + units[r % 2]) * w;
  if (before) multiply(vectors, from, 1, w, before, g->batch, m, sums);
#pragma GCC unroll 24
  for (int i = 0; i < ROWS * vectors; i++) _mm512_store_ps(made + i * LANES, sums[i]);
  for (int i = 0; i < 2; i++)
    for (int v = 0; v < vectors; v++) {
      const long one = (t * w + units[i]) * g->batch + at + v * LANES, gate = one + 2 * t * w * g->batch;
#define MADE(row) _mm512_load_ps(made + (((row) + i) * vectors + v) * LANES)
      const f32x16 r = sigmoid(MADE(0)), z = sigmoid(MADE(2)), q = MADE(4), n = tangent(_mm512_fmadd_ps(r, q, MADE(6)));
#undef MADE
      const f32x16 h = state(before, units[i] * g->batch + v * LANES, m[v]);
      _mm512_mask_storeu_ps(g->gates + gate, m[v], r);
      _mm512_mask_storeu_ps(g->gates + gate + w * g->batch, m[v], z);
      _mm512_mask_storeu_ps(g->gates + gate + 2 * w * g->batch, m[v], n);
      _mm512_mask_storeu_ps(g->inside + one, m[v], q);
      _mm512_mask_storeu_ps(g->states + one, m[v], _mm512_fmadd_ps(z, _mm512_sub_ps(h, n), n));
    }
}

INLINE void gru_panel(const int vectors, long at, const GRU *g, const float *x) {
  mask16 m[MOST];
  masks(vectors, g->batch - at, m);
  for (long t = 0; t < g->time; t++)
    for (long unit = 0; unit < g->width; unit += 2)
      gru_units(vectors, g, at, t, unit, x + t * g->inputs * g->batch + at,
                t ? g->states + (t - 1) * g->width * g->batch + at : NULL, m);
}

void gru(const GRU *g, const float *x, long threads) {
  const long batch = g->batch;
  FOR_PANELS(gru_panel, p, g, x)
}

/* d before a sigmoid that made s. */
INLINE f32x16 before_sigmoid(f32x16 d, f32x16 s) {
  return _mm512_mul_ps(d, _mm512_mul_ps(s, _mm512_sub_ps(_mm512_set1_ps(1), s)));
}

/* What h' = n + z (h - n) sends back to z, and to n, before their sigmoid and tanh. */
INLINE f32x16 of_update(f32x16 dh, f32x16 h, f32x16 n, f32x16 z) {
  return before_sigmoid(_mm512_mul_ps(dh, _mm512_sub_ps(h, n)), z);
}

INLINE f32x16 of_candidate(f32x16 dh, f32x16 n, f32x16 z) {
  const f32x16 one = _mm512_set1_ps(1);
  return _mm512_mul_ps(_mm512_mul_ps(dh, _mm512_sub_ps(one, z)), _mm512_fnmadd_ps(n, n, one));
}

#define LOAD(p) _mm512_maskz_loadu_ps(m[v], (p))

/* What gates send back: slopes (time, 4 width, batch) of r, z, n, and of U_n h + c, which is n's times r. */
INLINE void gru_slopes(const int vectors, const GRU *g, long at, long t, const float *along, float *slopes,
                       float *carried, const mask16 *m) {
  const long size = g->width * g->batch;
  for (long j = 0; j < g->width; j++)
    for (int v = 0; v < vectors; v++) {
      const long one = t * size + j * g->batch + at + v * LANES, gate = one + 2 * t * size;
      const f32x16 r = LOAD(g->gates + gate), z = LOAD(g->gates + gate + size), n = LOAD(g->gates + gate + 2 * size);
      const f32x16 q = LOAD(g->inside + one), h = t ? LOAD(g->states + one - size) : _mm512_setzero_ps();
      float *carry = carried + (j * vectors + v) * LANES;
      const f32x16 dh = _mm512_add_ps(LOAD(along + one), _mm512_load_ps(carry));
      const f32x16 dn = of_candidate(dh, n, z);
      float *to = slopes + one + 3 * t * size;
      _mm512_mask_storeu_ps(to, m[v], before_sigmoid(_mm512_mul_ps(dn, q), r));
      _mm512_mask_storeu_ps(to + size, m[v], of_update(dh, h, n, z));
      _mm512_mask_storeu_ps(to + 2 * size, m[v], dn);
      _mm512_mask_storeu_ps(to + 3 * size, m[v], _mm512_mul_ps(dn, r));
      _mm512_store_ps(carry, _mm512_mul_ps(dh, z));
    }
}

/* carried (rows, columns of the panel) += a' x, where a' [row][k] = a[row + k * apart]. */
INLINE void carry_rows(const int vectors, const float *a, long apart, const float *x, long depth, float *carried,
                       long rows, long batch, const mask16 *m) {
  for (long row = 0; row < rows; row += ROWS) {
    const float *from[ROWS];
    f32x16 sums[ROWS * MOST];
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; r++) {
      const long here = least(row + r, rows - 1);
      from[r] = a + here;
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++) sums[r * vectors + v] = _mm512_load_ps(carried + (here * vectors + v) * LANES);
    }
    multiply(vectors, from, apart, depth, x, batch, m, sums);
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++)
        if (row + r < rows) _mm512_store_ps(carried + ((row + r) * vectors + v) * LANES, sums[r * vectors + v]);
  }
}

INLINE void gru_back_panel(const int vectors, long at, const GRU *g, const float *along, float *slopes, float *dx) {
  const long w = g->width, batch = g->batch;
  float *carried = zeros(w * vectors * LANES * 4); /* dL/dh from the step after */
  mask16 m[MOST];
  masks(vectors, batch - at, m);
  for (long t = g->time - 1; t >= 0; t--) {
    gru_slopes(vectors, g, at, t, along, slopes, carried, m);
    const float *here = slopes + 4 * t * w * batch + at;
    if (t) {
      carry_rows(vectors, g->hidden, w, here, 2 * w, carried, w, batch, m);
      carry_rows(vectors, g->hidden + 2 * w * w, w, here + 3 * w * batch, w, carried, w, batch, m);
    }
    float *to = dx ? dx + t * g->inputs * batch + at : NULL;
    if (to) affine_rows(vectors, g->weight, 1, g->inputs, NULL, here, 3 * w, to, g->inputs, batch, m);
  }
  free(carried);
}

/* By what `along` (time, width, batch) sends back to the states: slopes, and the input's gradient if it is wanted. */
void gru_back(const GRU *g, const float *along, float *slopes, float *dx, long threads) {
  const long batch = g->batch;
  FOR_PANELS(gru_back_panel, p, g, along, slopes, dx)
}

/* ---- GRU with the reset gate before the product: n = tanh(W_n x + b_n + U_n (r h)) ------------------------------ */

/* Six rows of gates from `row` on: sums of W x + b, and of U times `before` where there is one. */
INLINE void gate_rows(const int vectors, const GRU *g, const long row[ROWS], const float *x, const float *before,
                      const mask16 *m, float *made) {
  const float *from[ROWS];
  f32x16 sums[ROWS * MOST];
#pragma GCC unroll 6
  for (int r = 0; r < ROWS; r++) {
    from[r] = g->weight + row[r] * g->inputs;
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) sums[r * vectors + v] = _mm512_set1_ps(g->bias[row[r]]);
  }
  multiply(vectors, from, 1, g->inputs, x, g->batch, m, sums);
#pragma GCC unroll 6
  for (int r = 0; r < ROWS; r++) from[r] = g->hidden + row[r] * g->width;
  if (before) multiply(vectors, from, 1, g->width, before, g->batch, m, sums);
#pragma GCC unroll 24
  for (int i = 0; i < ROWS * vectors; i++) _mm512_store_ps(made + i * LANES, sums[i]);
}

/* Both gates of three units, and r h, which is kept in `inside`. */
INLINE void reset_and_update(const int vectors, const GRU *g, long at, long t, long unit, const float *x,
                             const float *before, const mask16 *m) {
  const long w = g->width, size = w * g->batch;
  float made[ROWS * MOST * LANES] __attribute__((aligned(64)));
  long units[3], row[ROWS];
  for (int i = 0; i < 3; i++) units[i] = least(unit + i, w - 1), row[i] = units[i], row[3 + i] = w + units[i];
  gate_rows(vectors, g, row, x, before, m, made);
  for (int i = 0; i < 3; i++)
    for (int v = 0; v < vectors; v++) {
      const long one = t * size + units[i] * g->batch + at + v * LANES, gate = one + 2 * t * size;
      const f32x16 r = sigmoid(_mm512_load_ps(made + (i * vectors + v) * LANES));
      const f32x16 z = sigmoid(_mm512_load_ps(made + ((3 + i) * vectors + v) * LANES));
      const f32x16 h = state(before, units[i] * g->batch + v * LANES, m[v]);
      _mm512_mask_storeu_ps(g->gates + gate, m[v], r);
      _mm512_mask_storeu_ps(g->gates + gate + size, m[v], z);
      _mm512_mask_storeu_ps(g->inside + one, m[v], _mm512_mul_ps(r, h));
    }
}

/* Candidates and states of six units, by r h of all of them. */
INLINE void candidates(const int vectors, const GRU *g, long at, long t, long unit, const float *x, const float *before,
                       const mask16 *m) {
  const long w = g->width, size = w * g->batch;
  float made[ROWS * MOST * LANES] __attribute__((aligned(64)));
  long row[ROWS];
  for (int i = 0; i < ROWS; i++) row[i] = 2 * w + least(unit + i, w - 1);
  gate_rows(vectors, g, row, x, before ? g->inside + t * size + at : NULL, m, made);
  for (int i = 0; i < ROWS && unit + i < w; i++)
    for (int v = 0; v < vectors; v++) {
      const long one = t * size + (unit + i) * g->batch + at + v * LANES, gate = one + 2 * t * size;
      const f32x16 n = tangent(_mm512_load_ps(made + (i * vectors + v) * LANES));
      const f32x16 z = _mm512_maskz_loadu_ps(m[v], g->gates + gate + size);
      const f32x16 h = state(before, (unit + i) * g->batch + v * LANES, m[v]);
      _mm512_mask_storeu_ps(g->gates + gate + 2 * size, m[v], n);
      _mm512_mask_storeu_ps(g->states + one, m[v], _mm512_fmadd_ps(z, _mm512_sub_ps(h, n), n));
    }
}

INLINE void before_panel(const int vectors, long at, const GRU *g, const float *x) {
  mask16 m[MOST];
  masks(vectors, g->batch - at, m);
  for (long t = 0; t < g->time; t++) {
    const float *here = x + t * g->inputs * g->batch + at;
    const float *before = t ? g->states + (t - 1) * g->width * g->batch + at : NULL;
    for (long unit = 0; unit < g->width; unit += 3) reset_and_update(vectors, g, at, t, unit, here, before, m);
    for (long unit = 0; unit < g->width; unit += ROWS) candidates(vectors, g, at, t, unit, here, before, m);
  }
}

/* As `gru`, but `inside` is r h; there is no c. */
void gru_before(const GRU *g, const float *x, long threads) {
  const long batch = g->batch;
  FOR_PANELS(before_panel, p, g, x)
}

/* Slopes of z and n, and what reaches h through z; then, by what n sends back to r h, those of r. */
INLINE void before_slopes(const int vectors, const GRU *g, long at, long t, const float *along, float *slopes,
                          float *carried, float *chosen, const mask16 *m) {
  const long w = g->width, size = w * g->batch;
  for (long j = 0; j < w; j++)
    for (int v = 0; v < vectors; v++) {
      const long one = t * size + j * g->batch + at + v * LANES, gate = one + 2 * t * size;
      const f32x16 z = LOAD(g->gates + gate + size), n = LOAD(g->gates + gate + 2 * size);
      const f32x16 h = t ? LOAD(g->states + one - size) : _mm512_setzero_ps();
      float *carry = carried + (j * vectors + v) * LANES;
      const f32x16 dh = _mm512_add_ps(LOAD(along + one), _mm512_load_ps(carry));
      _mm512_mask_storeu_ps(slopes + gate + size, m[v], of_update(dh, h, n, z));
      _mm512_mask_storeu_ps(slopes + gate + 2 * size, m[v], of_candidate(dh, n, z));
      _mm512_store_ps(carry, _mm512_mul_ps(dh, z));
    }
  memset(chosen, 0, (size_t)(w * vectors * LANES) * sizeof(float));
  carry_rows(vectors, g->hidden + 2 * w * w, w, slopes + 3 * t * size + 2 * size + at, w, chosen, w, g->batch, m);
  for (long j = 0; j < w; j++)
    for (int v = 0; v < vectors; v++) {
      const long one = t * size + j * g->batch + at + v * LANES, gate = one + 2 * t * size;
      const f32x16 r = LOAD(g->gates + gate), h = t ? LOAD(g->states + one - size) : _mm512_setzero_ps();
      const f32x16 back = _mm512_load_ps(chosen + (j * vectors + v) * LANES);
      float *carry = carried + (j * vectors + v) * LANES;
      _mm512_mask_storeu_ps(slopes + gate, m[v], before_sigmoid(_mm512_mul_ps(back, h), r));
      _mm512_store_ps(carry, _mm512_fmadd_ps(back, r, _mm512_load_ps(carry)));
    }
}

INLINE void before_back_panel(const int vectors, long at, const GRU *g, const float *along, float *slopes, float *dx) {
  const long w = g->width, batch = g->batch, size = w * vectors * LANES;
  float *carried = zeros(size * 4), *chosen = room(size * 4);
  mask16 m[MOST];
  masks(vectors, batch - at, m);
  for (long t = g->time - 1; t >= 0; t--) {
    before_slopes(vectors, g, at, t, along, slopes, carried, chosen, m);
    const float *here = slopes + 3 * t * w * batch + at;
    if (t) carry_rows(vectors, g->hidden, w, here, 2 * w, carried, w, batch, m);
    float *to = dx ? dx + t * g->inputs * batch + at : NULL;
    if (to) affine_rows(vectors, g->weight, 1, g->inputs, NULL, here, 3 * w, to, g->inputs, batch, m);
  }
  free(chosen);
  free(carried);
}

/* As `gru_back`; slopes (time, 3 width, batch). */
void gru_before_back(const GRU *g, const float *along, float *slopes, float *dx, long threads) {
  const long batch = g->batch;
  FOR_PANELS(before_back_panel, p, g, along, slopes, dx)
}
