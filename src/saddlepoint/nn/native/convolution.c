/* Convolutions in bf16, their two gradients, and affine maps (convolutions of single pixels).
 *
 * All three are products of matrices that are never written out: rows of the left one are read where they lie in the
 * padded input, the right one is packed once. What follows a product (a scale, a bias, LeakyReLU, the slope of another
 * LeakyReLU) happens to sums that are still in registers. Sums are fp32.
 *
 * Tensors have their channels last: x (n, h, w, c), y (n, oh, ow, o). Weights have any strides.
 */
#include "vectors.h"
#include <stdio.h>

typedef struct {
  long n, h, w, c;             /* of the input: images, height, width, channels */
  long oh, ow, o;              /* of the output */
  long kh, kw, stride, ph, pw; /* kernel, stride, padding */
  long so, sc, sh, sw;         /* strides of the weights (o, c, kh, kw), in elements */
  long threads;
} Geometry;

typedef struct {
  const float *scale;    /* (images, channels) that the result is multiplied by first; or none */
  const float *bias;     /* (channels); or none */
  const float *shift;    /* (images, channels) that are added as well; or none */
  float slope;           /* of a LeakyReLU after it; 1: there is none */
  float other_slope;
  const bf16 *activated; /* like the result, which gets the slope of the LeakyReLU that made this; or none */
  long full;             /* whether the result is fp32, else bf16 */
  /* Of `forward` only: */
  const float *noise;    /* a number for each pixel of the result, times a strength (channels), added before the LeakyReLU */
  const float *strength; /* ... or none */
  const float *added;    /* like the result, added last of all; or none */
} After;

enum { PANEL = 64, MOST_ROWS = 16, STRETCH = 512 /* pairs */, CACHED = 96 * 1024 /* elements of input that are padded at a time */ };

static long least(long a, long b) { return a < b ? a : b; }
static long most(long a, long b) { return a > b ? a : b; }

static void *room(long bytes) { /* 64 bytes more than asked for: the last row of a tile may be read beyond its end */
  void *found = aligned_alloc(64, (size_t)((bytes + 127) / 64 * 64));
  if (!found) { /* no way back from here through threads: the process ends, and says why */
    fprintf(stderr, "saddlepoint: there is no memory for %ld bytes in the kernels\n", bytes);
    abort();
  }
  return found;
}

/* ---- a tile of a product -------------------------------------------------------------------------------------- */

/* Rows of a tile, by the vectors of its columns: sums fill 24 registers at most, and 32 there are. */
static const int ROWS[5] = {0, 16, 12, 8, 6};

/* sums[r][v] = row a[r] times column b[v]. A row is read in segments of so many pairs, `apart` elements apart. */
INLINE void multiply(const int rows, const int vectors, const bf16 *const *a, long segments, long apart, long pairs,
                     const bf16 *b, f32x16 sums[24]) {
#pragma GCC unroll 24
  for (int i = 0; i < rows * vectors; i++) sums[i] = _mm512_setzero_ps();
  for (long s = 0; s < segments; s++)
    for (long k = s * apart; k < s * apart + 2 * pairs; k += 2, b += vectors * 32) {
      __m512bh right[4];
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++) right[v] = (__m512bh)_mm512_loadu_si512(b + v * 32);
#pragma GCC unroll 16
      for (int r = 0; r < rows; r++) {
        int32_t pair;
        memcpy(&pair, a[r] + k, 4);
        const __m512bh left = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
          sums[r * vectors + v] = _mm512_dpbf16_ps(sums[r * vectors + v], left, right[v]);
      }
    }
}

/* The same of rows that begin `step` elements apart: four at a time share a register for where they are. */
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
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++) right[v] = (__m512bh)_mm512_loadu_si512(b + v * 32);
#pragma GCC unroll 16
      for (int r = 0; r < rows; r++) {
        int32_t pair;
        memcpy(&pair, group[r / 4] + offset[r % 4], 4);
        const __m512bh left = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
          sums[r * vectors + v] = _mm512_dpbf16_ps(sums[r * vectors + v], left, right[v]);
      }
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) group[i] += 2;
    }
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

static long panels_of(long channels) { return (channels + PANEL - 1) / PANEL; }

static int vectors_of(long channels, long panel) {
  const long left = channels - panel * PANEL;
  return left >= PANEL ? PANEL / LANES : (int)((left + LANES - 1) / LANES);
}

static long packed_columns(long channels) { return (channels + LANES - 1) / LANES * LANES; }

static void rows_times_part(const Row *row, long count, long segments, long apart, long pairs, const bf16 *b,
                            int vectors, const Stretch *part, const After *after, void *y, long channel,
                            long channels) {
  const int step = ROWS[vectors];
  for (long r = 0; r < count; r += step) {
    const long there = count - r < step ? count - r : step;
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
static void rows_times(const Row *row, long count, long segments, long apart, long pairs, const bf16 *b, int vectors,
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

/* ---- packing -------------------------------------------------------------------------------------------------- */

/* Columns (lanes) of numbers w[lane * apart + offset[k]], k in pairs, as panels; offset -1: a zero. */
static void pack(const float *w, long columns, long apart, const long *offset, long pairs, float scale, bf16 *to) {
  for (long panel = 0; panel < panels_of(columns); panel++) {
    const int vectors = vectors_of(columns, panel);
    for (int v = 0; v < vectors; v++) {
      const long lane = panel * PANEL + v * LANES;
      const float *column = w + lane * apart;
      const mask16 m = lanes(columns - lane);
      bf16 *out = to + v * 32;
      const f32x16 s = _mm512_set1_ps(scale);
      if (apart == 1) { /* the lanes lie side by side: two rows, one below the other */
        for (long k = 0; k < pairs; k++) {
          const f32x16 zero = _mm512_setzero_ps();
          const f32x16 one = offset[2 * k] < 0 ? zero : _mm512_maskz_loadu_ps(m, column + offset[2 * k]);
          const f32x16 two = offset[2 * k + 1] < 0 ? zero : _mm512_maskz_loadu_ps(m, column + offset[2 * k + 1]);
          const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(_mm512_mul_ps(two, s), _mm512_mul_ps(one, s));
          const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,
                                                 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
          _mm512_storeu_si512(out + k * vectors * 32, _mm512_permutexvar_epi16(order, both));
        }
        continue;
      }
      for (long k = 0; k < pairs; k += LANES) { /* sixteen pairs of sixteen lanes, transposed */
        const long there = pairs - k < LANES ? pairs - k : LANES;
        __m512i block[16];
        int together = there == LANES && offset[2 * k] >= 0;
        for (long i = 1; i < 2 * there && together; i++) together = offset[2 * k + i] == offset[2 * k] + i;
        if (together) {
#pragma GCC unroll 16
          for (int l = 0; l < LANES; l++) {
            const float *p = column + (m >> l & 1 ? l * apart : 0) + offset[2 * k];
            block[l] = (__m512i)_mm512_cvtne2ps_pbh(_mm512_mul_ps(_mm512_loadu_ps(p + LANES), s),
                                                    _mm512_mul_ps(_mm512_loadu_ps(p), s));
            if (!(m >> l & 1)) block[l] = _mm512_setzero_si512();
          }
        } else
          for (int l = 0; l < LANES; l++) {
            float line[32] = {0};
            if (m >> l & 1)
              for (long i = 0; i < 2 * there; i++)
                if (offset[2 * k + i] >= 0) line[i] = scale * column[l * apart + offset[2 * k + i]];
            block[l] = (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(line + LANES), _mm512_loadu_ps(line));
          }
        transpose(block);
        for (long i = 0; i < there; i++) _mm512_storeu_si512(out + (k + i) * vectors * 32, block[i]);
      }
    }
    to += pairs * vectors * 32;
  }
}

/* An affine map's weights (rows, columns) as both products read them, in one pass over memory: columns of `forward` are
 * rows, those of `back` are columns. What `pack` makes of them, twice. Rows are a multiple of 16, columns of 2. */
void pack_both(const float *w, long rows, long columns, float scale, bf16 *forward, bf16 *back) {
  const f32x16 s = _mm512_set1_ps(scale);
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,
                                         23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  for (long r = 0; r < rows; r += LANES) {
    const int across = vectors_of(rows, r / PANEL);
    bf16 *to = forward + r / PANEL * PANEL * columns + r % PANEL / LANES * 32;
    for (long c = 0; c < columns; c += 32) {
      __m512i block[LANES];
      const mask16 one = lanes(columns - c), two = columns - c > LANES ? lanes(columns - c - LANES) : 0;
      const long halves = two ? 2 : 1, pairs = least(columns - c, 32) / 2;
#pragma GCC unroll 16
      for (long l = 0; l < LANES; l++) {
        const float *p = w + (r + l) * columns + c;
        block[l] = (__m512i)_mm512_cvtne2ps_pbh(_mm512_mul_ps(_mm512_maskz_loadu_ps(two, p + LANES), s),
                                                _mm512_mul_ps(_mm512_maskz_loadu_ps(one, p), s));
      }
      for (long l = 0; l < LANES; l += 2) {
        const __m512i low = _mm512_shuffle_i64x2(block[l], block[l + 1], 0x44);
        const __m512i high = _mm512_shuffle_i64x2(block[l], block[l + 1], 0xee);
        const __m512i both[2] = {low, high};
        for (long h = 0; h < halves; h++) { /* sixteen columns of two rows */
          const long k = c + h * LANES, width = vectors_of(columns, k / PANEL);
          bf16 *there = back + k / PANEL * PANEL * rows + ((r + l) / 2 * width + k % PANEL / LANES) * 32;
          _mm512_stream_si512((__m512i *)there, _mm512_permutexvar_epi16(order, both[h]));
        }
      }
      transpose(block);
      for (long i = 0; i < pairs; i++) _mm512_stream_si512((__m512i *)(to + (c / 2 + i) * across * 32), block[i]);
    }
  }
  _mm_sfence();
}

/* Rows (number, columns) of bf16 or fp32 below one another in pairs, as left rows (columns, pairs): transposed. */
static void pack_left(const void *y, int full, long number, long columns, bf16 *to) {
  const long pairs = (number + 1) / 2;
  for (long c = 0; c < columns; c += LANES) {
    const mask16 m = lanes(columns - c);
    for (long k = 0; k < pairs; k += LANES) {
      const long there = pairs - k < LANES ? pairs - k : LANES;
      __m512i block[16];
      for (long i = 0; i < LANES; i++) {
        const long row = 2 * (k + i);
        const f32x16 one = row < number ? load(y, row * columns + c, full, m) : _mm512_setzero_ps();
        const f32x16 two = row + 1 < number ? load(y, (row + 1) * columns + c, full, m) : _mm512_setzero_ps();
        const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(one));
        const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(two));
        block[i] = _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
      }
      transpose(block);
      for (long l = 0; l < LANES && c + l < columns; l++)
        _mm512_mask_storeu_epi32((int32_t *)to + (c + l) * pairs + k, lanes(there), block[l]);
    }
  }
}

/* ---- padded inputs -------------------------------------------------------------------------------------------- */

/* The channels that make a line of a kernel a whole number of pairs. */
static long paired(long channels, long width) { return channels * width % 2 ? channels + 1 : channels; }

typedef struct {
  const void *x; /* (images, h, w, c), bf16 or fp32 */
  int full;
  long h, w, c;
  long ce, hp, wp, top, left; /* channels, height, width of the frame, and where the image lies in it */
  const float *scale;         /* (images, c) that it is multiplied by, or none */
} Frame;

/* Whether images can be read where they lie. */
static int lies_ready(const Frame *f) {
  return !f->full && !f->scale && f->ce == f->c && f->hp == f->h && f->wp == f->w;
}

static long frame_size(const Frame *f) { return f->hp * f->wp * f->ce; }

/* Copy images into frames of zeros. */
static void fill(const Frame *f, long first, long images, bf16 *to) {
  memset(to, 0, (size_t)(images * frame_size(f)) * sizeof(bf16));
  for (long i = 0; i < images; i++)
    for (long r = 0; r < f->h; r++) {
      bf16 *line = to + ((i * f->hp + r + f->top) * f->wp + f->left) * f->ce;
      const long at = ((first + i) * f->h + r) * f->w * f->c;
      if (f->scale || f->ce != f->c)
        for (long q = 0; q < f->w; q++)
          for (long k = 0; k < f->c; k += LANES) {
            const mask16 m = lanes(f->c - k);
            f32x16 x = load(f->x, at + q * f->c + k, f->full, m);
            if (f->scale) x = _mm512_mul_ps(x, _mm512_maskz_loadu_ps(m, f->scale + (first + i) * f->c + k));
            store_bf16(line + q * f->ce + k, x, m);
          }
      else if (f->full)
        for (long k = 0; k < f->w * f->c; k += LANES) {
          const mask16 m = lanes(f->w * f->c - k);
          store_bf16(line + k, load(f->x, at + k, 1, m), m);
        }
      else memcpy(line, (const bf16 *)f->x + at, (size_t)(f->w * f->c) * sizeof(bf16));
    }
}

/* ---- the convolution, and the gradient of its input ------------------------------------------------------------ */

/* One dense convolution of stride `step`: of all (forward), or of the pixels of the result that have the same taps. */
typedef struct {
  long rows, columns;           /* of the result, for an image */
  long step;                    /* between windows, in pixels of the frame */
  long above, before;           /* where the first window begins in the frame */
  long kh, kw;                  /* of the window */
  long to_row, to_column, every, width; /* where the result's first pixel lies, how far apart, and its full width */
  long height;
} Part;

/* Multiply the windows of a range of images by packed weights. */
static void convolve(const Frame *f, const Part *part, long first, long images, const bf16 *frames, const bf16 *packed,
                     const After *after, void *y, long channels, Row *row) {
  long count = 0;
  for (long i = 0; i < images; i++)
    for (long r = 0; r < part->rows; r++)
      for (long q = 0; q < part->columns; q++, count++) {
        row[count].from = frames + ((i * f->hp + part->above + r * part->step) * f->wp + part->before + q * part->step) * f->ce;
        row[count].to = ((first + i) * part->height + part->to_row + r * part->every) * part->width + part->to_column + q * part->every;
        row[count].image = first + i;
      }
  const long pairs = part->kw * f->ce / 2, depth = part->kh * pairs;
  for (long panel = 0; panel < panels_of(channels); panel++) {
    const int vectors = vectors_of(channels, panel);
    rows_times(row, count, part->kh, f->wp * f->ce, pairs, packed, vectors, after, y, panel * PANEL, channels);
    packed += depth * vectors * 32;
  }
}

/* All parts of all images. */
static void convolve_all(const Frame *f, const Part *parts, long number, const bf16 *const *packed, const After *after,
                         void *y, long images, long channels, long threads) {
  const long size = frame_size(f);
  long rows = 1;
  for (long p = 0; p < number; p++) rows = most(rows, parts[p].rows * parts[p].columns);
  /* As many images as the second cache holds, but enough rows to make use of a panel. */
  long at_once = most(1, least(CACHED / size, 4096 / rows));
  const long rounds = (images + threads * at_once - 1) / (threads * at_once); /* in each, every thread has a turn */
  at_once = (images + threads * rounds - 1) / (threads * rounds);
  const long turns = (images + at_once - 1) / at_once;
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    bf16 *frames = lies_ready(f) ? NULL : room(at_once * size * (long)sizeof(bf16));
    Row *row = room(at_once * rows * (long)sizeof(Row));
#pragma omp for schedule(static)
    for (long t = 0; t < turns; t++) {
      const long first = t * at_once, there = least(at_once, images - first);
      const bf16 *from = (const bf16 *)f->x + first * size;
      if (frames) {
        fill(f, first, there, frames);
        from = frames;
      }
      for (long p = 0; p < number; p++)
        convolve(f, parts + p, first, there, from, packed[p], after, y, channels, row);
    }
    free(frames);
    free(row);
  }
}

static Frame frame_of_input(const Geometry *g, const void *x, int full, const float *scale) {
  /* Only what windows read: a stride may leave the last rows out. */
  const long hp = most(g->h + g->ph, (g->oh - 1) * g->stride + g->kh), wp = most(g->w + g->pw, (g->ow - 1) * g->stride + g->kw);
  return (Frame){x, full, g->h, g->w, g->c, paired(g->c, g->kw), hp, wp, g->ph, g->pw, scale};
}

/* The gradient of the input falls into stride^2 parts: pixels of the input that the same taps of the kernel reach.
 * In one direction: pixel i = s j + r is reached from output (i + p - k) / s for k = phase, phase + s, ... */
typedef struct {
  long phase, taps, first; /* first: the output that the window of j = 0 begins with (may lie before 0) */
  long count;              /* pixels of this part */
} Reach;

static Reach reach(long r, long size, long kernel, long stride, long padding) {
  const long phase = (r + padding) % stride, taps = kernel > phase ? (kernel - phase + stride - 1) / stride : 0;
  return (Reach){phase, taps, (r + padding) / stride - taps + 1, size > r ? (size - r + stride - 1) / stride : 0};
}

static Frame frame_of_output(const Geometry *g, const void *y, int full, const float *scale) {
  long top = 0, left = 0, hp = g->oh, wp = g->ow, odd = 0;
  for (long r = 0; r < g->stride; r++) {
    const Reach a = reach(r, g->h, g->kh, g->stride, g->ph), b = reach(r, g->w, g->kw, g->stride, g->pw);
    top = most(top, -a.first), left = most(left, -b.first);
    hp = most(hp, a.first + a.count - 1 + a.taps), wp = most(wp, b.first + b.count - 1 + b.taps);
    odd |= b.taps * g->o % 2;
  }
  return (Frame){y, full, g->oh, g->ow, g->o, odd ? g->o + 1 : g->o, top + hp, left + wp, top, left, scale};
}

/* With few channels most lanes of a part would be idle: all taps of a pixel of the output at once, then added up. */
static int is_thin(const Geometry *g) {
  return g->c <= 4 && g->stride <= 4 && g->kh * g->kw * g->c <= 4 * PANEL && g->o % 2 == 0 && (g->sc == 1 || g->c == 1) && g->sw == g->c && g->sh == g->kw * g->c;
}

long packed_gradient(const Geometry *g) {
  if (is_thin(g)) return g->o * packed_columns(g->kh * g->kw * g->c);
  const Frame f = frame_of_output(g, NULL, 0, NULL);
  long all = 0;
  for (long r = 0; r < g->stride; r++)
    for (long q = 0; q < g->stride; q++)
      all += reach(r, g->h, g->kh, g->stride, g->ph).taps * reach(q, g->w, g->kw, g->stride, g->pw).taps;
  return all * f.ce * packed_columns(g->c);
}

void pack_gradient(const Geometry *g, const float *w, float scale, bf16 *to) {
  const long ce = frame_of_output(g, NULL, 0, NULL).ce;
  long *offset = room(g->kh * g->kw * ce * (long)sizeof(long));
  if (is_thin(g)) {
    for (long o = 0; o < g->o; o++) offset[o] = o * g->so;
    pack(w, g->kh * g->kw * g->c, 1, offset, g->o / 2, scale, to);
    free(offset);
    return;
  }
  for (long r = 0; r < g->stride; r++)
    for (long q = 0; q < g->stride; q++) {
      const Reach a = reach(r, g->h, g->kh, g->stride, g->ph), b = reach(q, g->w, g->kw, g->stride, g->pw);
      long k = 0;
      /* A window's first output is reached by the last tap. */
      for (long i = a.taps - 1; i >= 0; i--)
        for (long j = b.taps - 1; j >= 0; j--)
          for (long o = 0; o < ce; o++)
            offset[k++] = o < g->o ? (a.phase + i * g->stride) * g->sh + (b.phase + j * g->stride) * g->sw + o * g->so : -1;
      pack(w, g->c, g->sc, offset, k / 2, scale, to);
      to += k * packed_columns(g->c);
    }
  free(offset);
}

/* Write a row of the input: what the taps of all output pixels send there, added up. */
static void fold(const Geometry *g, const float *taps, long pitch, const After *after, const After *lanes_of, long image, long r,
                 void *x) {
  const float *from[4 * PANEL];
  long count = 0;
  for (long k = (r + g->ph) % g->stride; k < g->kh; k += g->stride) {
    const long line = (r + g->ph - k) / g->stride;
    if (r + g->ph >= k && line < g->oh) from[count++] = taps + line * g->ow * pitch + k * g->kw * g->c;
  }
  const long together = g->stride * g->c; /* pixels of one stride: the same taps reach them */
  for (long j = 0; j * g->stride < g->w + g->pw; j++) {
    f32x16 sum = _mm512_setzero_ps();
    for (long t = 0; t * g->stride < g->kw; t++)
      if (j - t >= 0 && j - t < g->ow) {
        const mask16 m = lanes(least(g->stride, g->kw - t * g->stride) * g->c);
        for (long i = 0; i < count; i++)
          sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(m, from[i] + (j - t) * pitch + t * together));
      }
    const long skipped = most(0, g->pw - j * g->stride) * g->c, there = least(g->stride, g->w + g->pw - j * g->stride) * g->c;
    const long at = ((image * g->h + r) * g->w + j * g->stride - g->pw) * g->c;
    const mask16 m = lanes(there) & (mask16)~lanes(skipped);
    /* The lanes are one line of numbers to what follows: place 0, `at` channels in. */
    After here = *lanes_of;
    if (here.activated) here.activated += at;
    const Row row = {NULL, 0, 0};
    store(x, at, (int)after->full, followed(sum, &here, &row, 0, 0, m), m);
  }
}

static void thin_gradient(const Geometry *g, const Frame *f, const bf16 *packed, const After *after, void *x) {
  const long places = g->oh * g->ow;
  const long columns = g->kh * g->kw * g->c, pitch = packed_columns(columns);
  const After sums = {.slope = 1, .other_slope = 1, .full = 1};
#pragma omp parallel num_threads(g->threads) if (g->threads > 1)
  {
    bf16 *frame = lies_ready(f) ? NULL : room(places * g->o * 2);
    float *taps = room(places * pitch * 4), scale[LANES], bias[LANES], shift[LANES];
    After lanes_of = *after; /* the same for the pixels of a stride, side by side */
    if (after->scale) lanes_of.scale = scale;
    if (after->bias) lanes_of.bias = bias;
    if (after->shift) lanes_of.shift = shift;
    Row *row = room(places * (long)sizeof(Row));
#pragma omp for schedule(static)
    for (long i = 0; i < g->n; i++) {
      const bf16 *from = (const bf16 *)f->x + i * places * g->o;
      if (frame) {
        fill(f, i, 1, frame);
        from = frame;
      }
      for (long k = 0; k < places; k++) row[k] = (Row){from + k * g->o, k, 0};
      const bf16 *panel_of = packed;
      for (long panel = 0; panel < panels_of(columns); panel++) {
        const int vectors = vectors_of(columns, panel);
        rows_times(row, places, 1, 0, g->o / 2, panel_of, vectors, &sums, taps, panel * PANEL, pitch);
        panel_of += g->o / 2 * vectors * 32;
      }
      for (long l = 0; l < LANES; l++) {
        if (after->scale) scale[l] = after->scale[i * g->c + l % g->c];
        if (after->bias) bias[l] = after->bias[l % g->c];
        if (after->shift) shift[l] = after->shift[i * g->c + l % g->c];
      }
      for (long r = 0; r < g->h; r++) fold(g, taps, pitch, after, &lanes_of, i, r, x);
    }
    free(frame);
    free(taps);
    free(row);
  }
}

void input_gradient(const Geometry *g, const void *y, int full, const float *scale, const bf16 *packed,
                    const After *after, void *x) {
  if (is_thin(g)) {
    const Frame plain = {y, full, g->oh, g->ow, g->o, g->o, g->oh, g->ow, 0, 0, scale};
    thin_gradient(g, &plain, packed, after, x);
    return;
  }
  const Frame f = frame_of_output(g, y, full, scale);
  Part parts[16];
  const bf16 *weights[16];
  long number = 0;
  for (long r = 0; r < g->stride; r++)
    for (long q = 0; q < g->stride; q++) {
      const Reach a = reach(r, g->h, g->kh, g->stride, g->ph), b = reach(q, g->w, g->kw, g->stride, g->pw);
      weights[number] = packed;
      parts[number++] = (Part){a.count, b.count, 1, f.top + a.first, f.left + b.first, a.taps, b.taps, r, q, g->stride, g->w, g->h};
      packed += a.taps * b.taps * f.ce * packed_columns(g->c);
    }
  convolve_all(&f, parts, number, weights, after, x, g->n, g->c, g->threads);
}

/* With few outputs most lanes would be idle, too: the convolution is the input gradient of the turned kernel. */
static int is_few(const Geometry *g) {
  const int keeps_its_size = g->stride == 1 && g->ph < g->kh && g->pw < g->kw && 2 * g->oh * g->ow > g->h * g->w;
  return keeps_its_size && g->o <= 4 && g->c >= 8 && g->c % 2 == 0 && g->kh * g->kw > 1 && g->kh * g->kw * g->o <= 2 * PANEL;
}

static Geometry turned(const Geometry *g) {
  return (Geometry){g->n, g->oh, g->ow, g->o, g->h, g->w, g->c, g->kh, g->kw, 1, g->kh - 1 - g->ph, g->kw - 1 - g->pw,
                    g->kh * g->kw * g->o, 1, g->kw * g->o, g->o, g->threads};
}

/* Elements of packed weights. */
long packed_forward(const Geometry *g) {
  if (is_few(g)) {
    const Geometry other = turned(g);
    return packed_gradient(&other);
  }
  return g->kh * g->kw * paired(g->c, g->kw) * packed_columns(g->o);
}

void pack_forward(const Geometry *g, const float *w, float scale, bf16 *to) {
  if (is_few(g)) {
    const Geometry other = turned(g);
    float *turned_weights = room(g->o * g->c * g->kh * g->kw * 4);
    for (long c = 0; c < g->c; c++)
      for (long i = 0; i < g->kh; i++)
        for (long j = 0; j < g->kw; j++)
          for (long o = 0; o < g->o; o++)
            turned_weights[((c * g->kh + g->kh - 1 - i) * g->kw + g->kw - 1 - j) * g->o + o] = w[o * g->so + c * g->sc + i * g->sh + j * g->sw];
    pack_gradient(&other, turned_weights, scale, to);
    free(turned_weights);
    return;
  }
  const long ce = paired(g->c, g->kw), depth = g->kh * g->kw * ce;
  long *offset = room(depth * (long)sizeof(long)), k = 0;
  for (long i = 0; i < g->kh; i++)
    for (long j = 0; j < g->kw; j++)
      for (long c = 0; c < ce; c++) offset[k++] = c < g->c ? i * g->sh + j * g->sw + c * g->sc : -1;
  pack(w, g->o, g->so, offset, depth / 2, scale, to);
  free(offset);
}

void forward(const Geometry *g, const void *x, int full, const float *scale, const bf16 *packed, const After *after,
             void *y) {
  if (is_few(g)) {
    const Geometry other = turned(g);
    const Frame plain = {x, full, g->h, g->w, g->c, g->c, g->h, g->w, 0, 0, scale};
    thin_gradient(&other, &plain, packed, after, y);
    return;
  }
  const Frame f = frame_of_input(g, x, full, scale);
  const Part part = {g->oh, g->ow, g->stride, 0, 0, g->kh, g->kw, 0, 0, 1, g->ow, g->oh};
  convolve_all(&f, &part, 1, &packed, after, y, g->n, g->o, g->threads);
}

/* ---- the gradient of the weights ------------------------------------------------------------------------------- */

enum { PIXELS = 512 /* rows of a product at a time */, PAST = 4 << 20 /* numbers */ };

typedef struct {
  long line, in_line, columns; /* of the kernel, where in it, and how many */
} Piece;

/* The columns of the product's result in panels: pieces of lines of the kernel, or short lines side by side. */
static long pieces_of(long kh, long line, Piece *piece) {
  long count = 0;
  for (long i = 0; i < kh; i++)
    for (long at = 0; at < line; at += PANEL) piece[count++] = (Piece){i, at, least(PANEL, line - at)};
  return count;
}

INLINE __m512i load_short(const bf16 *p, long left) {
  return left >= 32 ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi16((__mmask32)((1ull << left) - 1), p);
}

/* Two rows of some columns below one another, at a lane of a panel that is zero beyond them. */
INLINE void pair_rows(const bf16 *one, const bf16 *two, long columns, bf16 *to) {
  for (long c = 0; c < columns; c += 32) {
    __m512i first, second;
    interleave(load_short(one + c, columns - c), load_short(two + c, columns - c), &first, &second);
    _mm512_storeu_si512(to + 2 * c, first);
    if (columns - c > LANES) _mm512_storeu_si512(to + 2 * c + 32, second);
  }
}

/* Its loops over a few lines and registers want to be unrolled; for the rest of the file that costs ten seconds. */
#if defined(__GNUC__) && !defined(__clang__)
#define UNROLLED __attribute__((optimize("O3")))
#else
#define UNROLLED
#endif

/* dw (o, c, kh, kw, by its strides) = scale * sum over pixels of y times the window of x there. */
UNROLLED
void weight_gradient(const Geometry *g, const void *x, int x_full, const float *x_scale, const void *y, int y_full,
                     float scale, float *dw) {
  if (is_few(g) && !x_scale) { /* windows of y, whose lines are short, times pixels of x */
    Geometry other = turned(g);
    other.so = g->sc, other.sc = g->so, other.sh = -g->sh, other.sw = -g->sw;
    weight_gradient(&other, y, y_full, NULL, x, x_full, scale, dw + (g->kh - 1) * g->sh + (g->kw - 1) * g->sw);
    return;
  }
  const Frame f = frame_of_input(g, x, x_full, x_scale);
  const long size = frame_size(&f), line = g->kw * f.ce, depth = g->kh * line, places = g->oh * g->ow;
  const long at_once = most(1, least(g->n, PIXELS / places));
  const long most_pairs = (at_once * places + 1) / 2, turns = (g->n + at_once - 1) / at_once;
  const int ready = lies_ready(&f);
  bf16 *frames = ready ? NULL : room(at_once * size * 2), *left = room(g->o * most_pairs * 4);
  const bf16 **window = room((at_once * places + 1) * (long)sizeof(*window));
  Piece *piece = room(g->kh * panels_of(line) * (long)sizeof(Piece));
  const long number_of_pieces = pieces_of(g->kh, line, piece);
  /* Short lines share a panel: so many of them. */
  const long shared = most(1, PANEL / line), panels = (number_of_pieces + shared - 1) / shared;
  /* Sums of one turn that lie as the weights do are written where they belong. */
  const int lies_so = f.ce == g->c && (g->sc == 1 || g->c == 1) && (g->kw == 1 || g->sw == g->c) && shared == 1 && turns == 1;
  /* More than the caches hold: past them, without reading first what is written over. */
  const int past = lies_so && g->o * depth > PAST && (uintptr_t)dw % 64 == 0 && g->so % LANES == 0 && line % LANES == 0;
  float *sums = lies_so ? NULL : room(g->o * panels * PANEL * 4);
  bf16 *nothing = room(PANEL * 2);
  memset(nothing, 0, PANEL * 2);
  for (long t = 0; t < turns; t++) {
    const long first = t * at_once, there = least(at_once, g->n - first), number = there * places;
    const long pairs = (number + 1) / 2;
    const bf16 *from = (const bf16 *)f.x + first * size;
    if (!ready) {
      fill(&f, first, there, frames);
      from = frames;
    }
    long count = 0;
    for (long i = 0; i < there; i++)
      for (long r = 0; r < g->oh; r++)
        for (long q = 0; q < g->ow; q++)
          window[count++] = from + ((i * f.hp + r * g->stride) * f.wp + q * g->stride) * f.ce;
    const long size_y = y_full ? 4 : 2;
    pack_left((const char *)y + first * places * g->o * size_y, y_full, number, g->o, left);
#pragma omp parallel num_threads(g->threads) if (g->threads > 1)
    {
      bf16 *packed = room(pairs * PANEL * 4);
#pragma omp for schedule(static)
      for (long panel = 0; panel < panels; panel++) {
        const long from_piece = panel * shared, pieces = least(shared, number_of_pieces - from_piece);
        const long columns = pieces > 1 ? pieces * line : piece[from_piece].columns;
        const int vectors = (int)((columns + LANES - 1) / LANES);
        for (long k = 0; k < pairs; k++) {
          bf16 short_lines[2][PANEL + 32];
          const bf16 *both[2];
          for (long b = 0; b < 2; b++)
            if (2 * k + b >= number) both[b] = nothing;
            else if (pieces == 1)
              both[b] = window[2 * k + b] + piece[from_piece].line * f.wp * f.ce + piece[from_piece].in_line;
            else {
              for (long i = 0; i < pieces; i++)
                _mm512_storeu_si512(short_lines[b] + i * line, load_short(window[2 * k + b] + (from_piece + i) * f.wp * f.ce, least(line, 32)));
              both[b] = short_lines[b];
            }
          pair_rows(both[0], both[1], columns, packed + k * vectors * 32);
        }
        const int step = ROWS[vectors];
        for (long o = 0; o < g->o; o += step) {
          const bf16 *a[MOST_ROWS];
          f32x16 found[24];
          const long rows_there = least(step, g->o - o);
#define SUMS(n_rows, n_vectors)                                                                                       \
  {                                                                                                                   \
    for (int r = 0; r < n_rows; r++) a[r] = left + least(o + r, g->o - 1) * pairs * 2;                                \
    multiply(n_rows, n_vectors, a, 1, 0, pairs, packed, found);                                                       \
    _Pragma("GCC unroll 16") for (int r = 0; r < n_rows; r++) _Pragma("GCC unroll 4") for (int v = 0; v < n_vectors; v++) \
      if (r < rows_there) {                                                                                           \
        const mask16 m = lanes(columns - v * LANES);                                                                  \
        if (lies_so) {                                                                                                \
          float *there = dw + (o + r) * g->so + piece[panel].line * g->sh + piece[panel].in_line + v * LANES;         \
          const f32x16 result = _mm512_mul_ps(found[r * n_vectors + v], _mm512_set1_ps(scale));                       \
          if (past && m == 0xffff) _mm512_stream_ps(there, result);                                                   \
          else _mm512_mask_storeu_ps(there, m, result);                                                               \
          continue;                                                                                                   \
        }                                                                                                             \
        float *to = sums + ((o + r) * panels + panel) * PANEL + v * LANES;                                            \
        const f32x16 before = t ? _mm512_loadu_ps(to) : _mm512_setzero_ps();                                          \
        _mm512_storeu_ps(to, _mm512_add_ps(before, found[r * n_vectors + v]));                                        \
      }                                                                                                               \
  }
          switch (vectors) {
            case 4: SUMS(6, 4) break;
            case 3: SUMS(8, 3) break;
            case 2: SUMS(12, 2) break;
            default: SUMS(16, 1)
          }
#undef SUMS
        }
      }
      free(packed);
    }
  }
  for (long o = 0; o < g->o && !lies_so; o++)
    for (long p = 0; p < number_of_pieces; p++) {
      const float *found = sums + (o * panels + p / shared) * PANEL + p % shared * line;
      float *to = dw + o * g->so + piece[p].line * g->sh;
      if (f.ce == g->c && g->sc == 1 && (g->kw == 1 || g->sw == g->c)) { /* the weights have their channels last, too */
        for (long k = 0; k < piece[p].columns; k++) to[piece[p].in_line + k] = scale * found[k];
        continue;
      }
      long tap = piece[p].in_line / f.ce, c = piece[p].in_line % f.ce;
      for (long k = 0; k < piece[p].columns; k++) {
        if (c < g->c) to[tap * g->sw + c * g->sc] = scale * found[k];
        if (++c == f.ce) c = 0, tap++;
      }
    }
  if (past) _mm_sfence();
  free(nothing);
  free(piece);
  free(window);
  free(sums);
  free(left);
  free(frames);
}
