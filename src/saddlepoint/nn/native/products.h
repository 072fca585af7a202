/* Products of matrices in bf16 that are never written out; what the files of convolutions share.
 *
 * Rows of the left matrix are read where they lie in the padded input (frames), the right one is packed once (panels of
 * columns, their rows in pairs). Affine maps are convolutions of single pixels. Sums are fp32.
 *
 * Tensors have their channels last: x (n, h, w, c), y (n, oh, ow, o). Weights have any strides.
 */
#pragma once
#include "room.h"
#include "vectors.h"

typedef struct {
  long n, h, w, c;             /* of the input: images, height, width, channels */
  long oh, ow, o;              /* of the output */
  long kh, kw, stride, ph, pw; /* kernel, stride, padding */
  long so, sc, sh, sw;         /* strides of the weights (o, c, kh, kw), in elements */
  long threads;
} Geometry;

/* What happens to sums that are still in registers. */
typedef struct {
  const float *scale;    /* (images, channels) that the result is multiplied by first; or none */
  const float *bias;     /* (channels); or none */
  const float *shift;    /* (images, channels) that are added as well; or none */
  float slope;           /* of a LeakyReLU after it; 1: there is none */
  float other_slope;
  const bf16 *activated; /* like the result, which gets the slope of the LeakyReLU that made this; or none */
  long full;             /* whether the result is fp32, else bf16 */
  /* Of `forward` only: */
  const float *noise;    /* (pixels of the result), added before the LeakyReLU, times ... */
  const float *strength; /* ... (channels); or none */
  const float *added;    /* like the result, added last of all; or none */
} After;

/* ---- panels of columns ------------------------------------------------------------------------------------------ */

enum { PANEL = 64, MOST_ROWS = 16 };

INLINE long panels_of(long channels) { return (channels + PANEL - 1) / PANEL; }

INLINE int vectors_of(long channels, long panel) {
  const long left = channels - panel * PANEL;
  return left >= PANEL ? PANEL / LANES : (int)((left + LANES - 1) / LANES);
}

INLINE long packed_columns(long channels) { return (channels + LANES - 1) / LANES * LANES; }

/* ---- a tile of a product ---------------------------------------------------------------------------------------- */

/* Rows of a tile, by the vectors of its columns: sums fill 24 registers at most, and 32 there are. */
static const int ROWS[5] = {0, 16, 12, 8, 6};

/* A pair of each column. */
INLINE void load_pairs(const int vectors, const bf16 *b, __m512bh right[4]) {
#pragma GCC unroll 4
  for (int v = 0; v < vectors; v++) right[v] = (__m512bh)_mm512_loadu_si512(b + v * 32);
}

/* sums[v] += a pair of a row times one of each column. */
INLINE void add_pair(const int vectors, const bf16 *a, const __m512bh right[4], f32x16 *sums) {
  int32_t pair;
  memcpy(&pair, a, 4);
  const __m512bh left = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 4
  for (int v = 0; v < vectors; v++) sums[v] = _mm512_dpbf16_ps(sums[v], left, right[v]);
}

/* sums[r][v] = row a[r] times column b[v]. A row is read in segments of so many pairs, `apart` elements apart. */
INLINE void multiply(const int rows, const int vectors, const bf16 *const *a, long segments, long apart, long pairs,
                     const bf16 *b, f32x16 sums[24]) {
#pragma GCC unroll 24
  for (int i = 0; i < rows * vectors; i++) sums[i] = _mm512_setzero_ps();
  for (long s = 0; s < segments; s++)
    for (long k = s * apart; k < s * apart + 2 * pairs; k += 2, b += vectors * 32) {
      __m512bh right[4];
      load_pairs(vectors, b, right);
#pragma GCC unroll 16
      for (int r = 0; r < rows; r++) add_pair(vectors, a[r] + k, right, sums + r * vectors);
    }
}

typedef struct {
  const bf16 *from; /* where the row begins */
  long to;          /* its place in the result: pixels */
  long image;
} Row;

INLINE f32x16 followed(f32x16 y, const After *after, const Row *row, long channel, long channels, mask16 m) {
  if (after->scale) y = _mm512_mul_ps(y, _mm512_maskz_loadu_ps(m, after->scale + row->image * channels + channel));
  if (after->bias) y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(m, after->bias + channel));
  if (after->shift) y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(m, after->shift + row->image * channels + channel));
  if (after->noise) {
    const f32x16 strength = _mm512_maskz_loadu_ps(m, after->strength + channel);
    y = _mm512_fmadd_ps(_mm512_set1_ps(after->noise[row->to]), strength, y);
  }
  if (after->slope != 1) y = leaky(y, after->slope);
  if (after->added) y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(m, after->added + row->to * channels + channel));
  if (after->activated) {
    y = sloped(y, load_bf16(after->activated + row->to * channels + channel, m), after->other_slope);
  }
  return y;
}

/* ---- inputs with zeros around them ------------------------------------------------------------------------------ */

typedef struct {
  const void *x; /* (images, h, w, c), bf16 or fp32 */
  int full;
  long h, w, c;
  long ce, hp, wp, top, left; /* channels, height, width of the frame, and where the image lies in it */
  const float *scale;         /* (images, c) that it is multiplied by, or none */
} Frame;

/* Whether images can be read where they lie. */
INLINE int lies_ready(const Frame *f) {
  return !f->full && !f->scale && f->ce == f->c && f->hp == f->h && f->wp == f->w;
}

INLINE long frame_size(const Frame *f) { return f->hp * f->wp * f->ce; }

/* The channels that make a line of a kernel a whole number of pairs. */
INLINE long paired(long channels, long width) { return channels * width % 2 ? channels + 1 : channels; }

/* ---- from file to file ------------------------------------------------------------------------------------------ */

#pragma GCC visibility push(hidden) /* no names of the library's */

/* tiles.c */
void rows_times(const Row *row, long count, long segments, long apart, long pairs, const bf16 *b, int vectors,
                const After *after, void *y, long channel, long channels);

/* packing.c */
void pack(const float *w, long columns, long apart, const long *offset, long pairs, float scale, bf16 *to);
void fill(const Frame *f, long first, long images, bf16 *to);
Frame frame_of_input(const Geometry *g, const void *x, int full, const float *scale);

/* convolution.c */
int is_few(const Geometry *g);
Geometry turned(const Geometry *g);

#pragma GCC visibility pop
