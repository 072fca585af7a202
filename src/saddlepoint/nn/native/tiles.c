/* Tiles of a product: sums in registers, and what happens to them before they are written.
 *
 * The longest file for the compiler: -O3 takes it twice the seconds, and gains nothing.
 */
#include "products.h"

enum { STRETCH = 512 /* pairs */ };

/* As `multiply`, of rows that begin `step` elements apart: four at a time share a register for where they are. */
INLINE void multiply_even(const int rows, const int vectors, const bf16 *a, long step, long segments, long apart,
                          long pairs, const bf16 *b, f32x16 sums[24]) {
  const long offset[4] = {0, step, 2 * step, 3 * step};
#pragma GCC unroll 24
  for (int i = 0; i < rows * vectors; i++) sums[i] = _mm512_setzero_ps();
  for (long s = 0; s < segments; s++) {
    const bf16 *group[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) group[i] = a + s * apart + 4 * i * step;
    for (long k = 0; k < pairs; k++, b += vectors * 32) {
      __m512bh right[4];
      load_pairs(vectors, b, right);
#pragma GCC unroll 16
      for (int r = 0; r < rows; r++) add_pair(vectors, group[r / 4] + offset[r % 4], right, sums + r * vectors);
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) group[i] += 2;
    }
  }
}

/* Of a long product only a part: where it begins in a row, and sums of PANEL columns a row, read unless it is the first
 * part, and written unless it is the last. */
typedef struct {
  long first;
  float *sums;
  int is_first, is_last;
} Stretch;

INLINE void tile(const int rows, const int vectors, const Row *row, long there, long segments, long apart, long pairs,
                 const bf16 *b, const Stretch *stretch, const After *after, void *y, long channel, long channels) {
  const bf16 *a[MOST_ROWS];
  f32x16 sums[24];
#pragma GCC unroll 16
  for (int r = 0; r < rows; r++) /* the last row again and again */
    a[r] = row[r < there ? r : there - 1].from + (stretch ? stretch->first : 0);
  long step = a[1] - a[0], even = rows > 6; /* of fewer rows each has a register anyway */
#pragma GCC unroll 16
  for (int r = 2; r < rows && rows > 6; r++) even &= a[r] - a[r - 1] == step;
  if (even) multiply_even(rows, vectors, a[0], step, segments, apart, pairs, b, sums);
  else multiply(rows, vectors, a, segments, apart, pairs, b, sums);
  if (stretch)
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++)
        if (r < there) {
          float *kept = stretch->sums + r * PANEL + v * LANES;
          if (!stretch->is_first) sums[r * vectors + v] = _mm512_add_ps(sums[r * vectors + v], _mm512_loadu_ps(kept));
          if (!stretch->is_last) _mm512_storeu_ps(kept, sums[r * vectors + v]);
        }
  if (stretch && !stretch->is_last) return;
#pragma GCC unroll 16
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
      const long first = channel + v * LANES;
      if (r < there && first < channels) {
        const mask16 m = lanes(channels - first);
        const f32x16 found = followed(sums[r * vectors + v], after, row + r, first, channels, m);
        store(y, row[r].to * channels + first, (int)after->full, found, m);
      }
    }
}

static void rows_times_part(const Row *row, long count, long segments, long apart, long pairs, const bf16 *b,
                            int vectors, const Stretch *part, const After *after, void *y, long channel,
                            long channels) {
  const int step = ROWS[vectors];
  for (long r = 0; r < count; r += step) {
    const long there = least(count - r, step);
    Stretch here = part ? *part : (Stretch){0};
    if (part) here.sums += r * PANEL;
    const Stretch *stretch = part ? &here : NULL;
#define TILE(n_rows, n_vectors) \
  tile(n_rows, n_vectors, row + r, there, segments, apart, pairs, b, stretch, after, y, channel, channels)
    switch (vectors) {
      case 4: if (there <= 3) TILE(3, 4); else TILE(6, 4); break;
      case 3: if (there <= 4) TILE(4, 3); else TILE(8, 3); break;
      case 2: if (there <= 6) TILE(6, 2); else TILE(12, 2); break;
      default: if (there <= 8) TILE(8, 1); else TILE(16, 1);
    }
#undef TILE
  }
}

/* Rows times one packed panel: long ones in stretches whose part of the panel stays in the second cache. */
void rows_times(const Row *row, long count, long segments, long apart, long pairs, const bf16 *b, int vectors,
                const After *after, void *y, long channel, long channels) {
  const long all = segments * pairs;
  if (all <= STRETCH + STRETCH / 2) {
    rows_times_part(row, count, segments, apart, pairs, b, vectors, NULL, after, y, channel, channels);
    return;
  }
  float *sums = room(count * PANEL * 4);
  const long at_once = most(1, STRETCH / pairs); /* segments; of one long segment only a part */
  const long some = segments > 1 ? pairs : STRETCH;
  for (long s = 0; s < segments; s += at_once)
    for (long k = 0; k < pairs; k += some) {
      const long those = least(at_once, segments - s), here = least(some, pairs - k);
      const Stretch part = {s * apart + 2 * k, sums, s == 0 && k == 0, s + those == segments && k + here == pairs};
      rows_times_part(row, count, those, apart, here, b + (s * pairs + k) * vectors * 32, vectors, &part, after, y,
                      channel, channels);
    }
  free(sums);
}
