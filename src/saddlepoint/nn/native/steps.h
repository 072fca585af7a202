/* Products of a weight and of steps of sequences, in fp32: what is kept from step to step is never rounded to bf16.
 *
 * Tensors have the batch last: steps (time, feature, batch). A product is a weight, number by number, times vectors of
 * the batch, so that no weight is packed; what follows it (gates, the next state) happens to sums in registers.
 */
#pragma once
#include "room.h"
#include "vectors.h"

enum { ROWS = 6, MOST = 4 /* vectors: 6 x 4 sums and what they are made of fill the 32 registers */ };


/* ---- a tile of a product ---------------------------------------------------------------------------------------- */

/* sums[r][v] += a[r][k * apart] * b[k * line + 16 v], over k. */
INLINE void multiply(const int vectors, const float *const a[ROWS], long apart, long depth, const float *b, long line,
                     const mask16 *m, f32x16 *sums) {
  const float *from[ROWS];
#pragma GCC unroll 6
  for (int r = 0; r < ROWS; r++) from[r] = a[r];
  for (long k = 0; k < depth; k++, b += line) {
    f32x16 right[MOST];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) right[v] = _mm512_maskz_loadu_ps(m[v], b + v * LANES);
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; r++) {
      const f32x16 left = _mm512_set1_ps(from[r][k * apart]);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++) sums[r * vectors + v] = _mm512_fmadd_ps(left, right[v], sums[r * vectors + v]);
    }
  }
}

/* How many columns of the batch a thread takes at a time: results do not depend on it. */
INLINE int vectors_for(long batch, long threads) {
  const long each = (batch + threads - 1) / threads;
  return each > 32 ? 4 : each > 16 ? 2 : 1;
}

INLINE void masks(const int vectors, long left, mask16 *m) {
#pragma GCC unroll 4
  for (int v = 0; v < vectors; v++) m[v] = lanes_or_none(left - v * LANES);
}

/* Carry out a function of panels of the batch for all of them, with a constant number of vectors. */
#define FOR_PANELS(function, number, ...)                                                \
  {                                                                                      \
    const int vectors = vectors_for(batch, threads);                                     \
    const long columns = vectors * LANES, panels = (batch + columns - 1) / columns;      \
    _Pragma("omp parallel for num_threads(threads) if (threads > 1) schedule(static)")   \
    for (long number = 0; number < panels; number++) {                                   \
      const long at = number * columns;                                                  \
      switch (vectors) {                                                                 \
        case 4: function(4, at, __VA_ARGS__); break;                                     \
        case 2: function(2, at, __VA_ARGS__); break;                                     \
        default: function(1, at, __VA_ARGS__);                                           \
      }                                                                                  \
    }                                                                                    \
  }

typedef struct {
  const float *a; /* a[row * down + k * apart], of `depth` columns */
  long down, apart;
  const float *x; /* x[k * line], and the columns of the batch that follow */
  long line, depth;
} Term;

/* y[row] = bias[row] + sum over terms of a x, for a panel of one step's columns. */
INLINE void sum_rows(const int vectors, const Term *term, const int terms, const float *bias, float *y, long rows,
                     long batch, const mask16 *m) {
  for (long row = 0; row < rows; row += ROWS) {
    f32x16 sums[ROWS * MOST];
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++) /* the last row again and again */
        sums[r * vectors + v] = _mm512_set1_ps(bias ? bias[least(row + r, rows - 1)] : 0);
#pragma GCC unroll 2
    for (int i = 0; i < terms; i++) {
      const float *from[ROWS];
#pragma GCC unroll 6
      for (int r = 0; r < ROWS; r++) from[r] = term[i].a + least(row + r, rows - 1) * term[i].down;
      multiply(vectors, from, term[i].apart, term[i].depth, term[i].x, term[i].line, m, sums);
    }
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++)
        if (row + r < rows) _mm512_mask_storeu_ps(y + (row + r) * batch + v * LANES, m[v], sums[r * vectors + v]);
  }
}

INLINE void affine_rows(const int vectors, const float *a, long down, long apart, const float *bias, const float *x,
                        long depth, float *y, long rows, long batch, const mask16 *m) {
  const Term one = {a, down, apart, x, batch, depth};
  sum_rows(vectors, &one, 1, bias, y, rows, batch, m);
}
