/* The gradient of the weights: pixels of the output times windows of the input; see products.h.
 *
 * Rows of the product are output channels, its columns are numbers of a window: lines of the kernel, one after another,
 * each of taps times input channels. What is summed over are pixels, in turns of some images.
 */
#pragma GCC optimize("O3") /* loops over a few lines and registers want to be unrolled */
#include "products.h"

enum { PIXELS = 512 /* of a turn */, PAST = 4 << 20 /* numbers */ };

/* A piece of a line of the kernel: which, where in it, and how many columns. */
typedef struct {
  long line, in_line, columns;
} Piece;

typedef struct {
  const Geometry *g;
  Frame frame;
  long line;           /* columns of a line */
  long pieces, shared; /* short lines share a panel: so many of them */
  long panels;
  const Piece *piece;
  float scale, *dw;
  int channels_last;   /* whether a line's columns lie in the weights as they do here */
  int lies_so;         /* whether all of the sums do: they are written where they belong, */
  int past;            /* past the caches, which would not hold them, without reading first what is written over */
  float *sums;         /* else (o, panels, PANEL) */
} Product;

typedef struct {
  int is_first;
  long pixels, pairs;  /* an odd pixel makes a pair with zeros */
  const bf16 **window; /* (pixels): where each begins in the frames */
  bf16 *left;          /* (o, pairs): the output, transposed */
} Turn;

/* ---- what a turn reads ------------------------------------------------------------------------------------------ */

/* Rows (number, columns) of bf16 or fp32 below one another in pairs, as left rows (columns, pairs): transposed. */
static void pack_left(const void *y, int full, long number, long columns, bf16 *to) {
  const long pairs = (number + 1) / 2;
  for (long c = 0; c < columns; c += LANES) {
    const mask16 m = lanes(columns - c);
    for (long k = 0; k < pairs; k += LANES) {
      __m512i block[LANES];
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
        _mm512_mask_storeu_epi32((int32_t *)to + (c + l) * pairs + k, lanes(pairs - k), block[l]);
    }
  }
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

/* Write the columns of a panel, of all pixels in pairs; return how many there are. What is read in each round is copied
 * first: a vector that is stored might lie anywhere, for all that the compiler knows. */
static long pack_panel(const Product *p, const Turn *t, long panel, bf16 *packed) {
  static const bf16 nothing[PANEL];
  const long first = panel * p->shared, together = least(p->shared, p->pieces - first), line = p->line;
  const Piece piece = p->piece[first];
  const long columns = together > 1 ? together * line : piece.columns, pitch = p->frame.wp * p->frame.ce;
  const long pixels = t->pixels, pairs = t->pairs, step = (columns + LANES - 1) / LANES * 32;
  const long start = piece.line * pitch + piece.in_line;
  const bf16 *const *window = t->window;
  if (together == 1) {
    for (long k = 0; k < pairs; k++) {
      const bf16 *two = 2 * k + 1 < pixels ? window[2 * k + 1] + start : nothing;
      pair_rows(window[2 * k] + start, two, columns, packed + k * step);
    }
    return columns;
  }
  for (long k = 0; k < pairs; k++) {
    bf16 lines[2][PANEL + 32];
    if (2 * k + 1 == pixels) memset(lines[1], 0, sizeof lines[1]);
    for (long b = 0; b < 2 && 2 * k + b < pixels; b++) {
      const bf16 *from = window[2 * k + b] + first * pitch;
      for (long i = 0; i < together; i++)
        _mm512_storeu_si512(lines[b] + i * line, load_short(from + i * pitch, least(line, 32)));
    }
    pair_rows(lines[0], lines[1], columns, packed + k * step);
  }
  return columns;
}

/* ---- products --------------------------------------------------------------------------------------------------- */

/* Rows from `o` on times a panel: the last row again and again, where there are fewer. */
INLINE void tile(const int rows, const int vectors, const Product *p, const Turn *t, long panel, long columns,
                 const bf16 *packed, long o) {
  const int lies_so = p->lies_so, past = p->past, is_first = t->is_first;
  const long outputs = p->g->o, pairs = t->pairs, down = lies_so ? p->g->so : p->panels * PANEL;
  float *first = lies_so ? p->dw + p->piece[panel].line * p->g->sh + p->piece[panel].in_line : p->sums + panel * PANEL;
  const f32x16 scale = _mm512_set1_ps(p->scale);
  const bf16 *a[MOST_ROWS];
  f32x16 found[24];
  for (int r = 0; r < rows; r++) a[r] = t->left + least(o + r, outputs - 1) * pairs * 2;
  multiply(rows, vectors, a, 1, 0, pairs, packed, found);
#pragma GCC unroll 16
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++)
      if (o + r < outputs) {
        const mask16 m = lanes(columns - v * LANES);
        const f32x16 sum = found[r * vectors + v];
        float *to = first + (o + r) * down + v * LANES;
        if (!lies_so) _mm512_storeu_ps(to, _mm512_add_ps(is_first ? _mm512_setzero_ps() : _mm512_loadu_ps(to), sum));
        else if (past && m == 0xffff) _mm512_stream_ps(to, _mm512_mul_ps(sum, scale));
        else _mm512_mask_storeu_ps(to, m, _mm512_mul_ps(sum, scale));
      }
}

static void times_panel(const Product *p, const Turn *t, long panel, bf16 *packed) {
  const long columns = pack_panel(p, t, panel, packed);
  const int vectors = (int)((columns + LANES - 1) / LANES);
  for (long o = 0; o < p->g->o; o += ROWS[vectors])
    switch (vectors) {
      case 4: tile(6, 4, p, t, panel, columns, packed, o); break;
      case 3: tile(8, 3, p, t, panel, columns, packed, o); break;
      case 2: tile(12, 2, p, t, panel, columns, packed, o); break;
      default: tile(16, 1, p, t, panel, columns, packed, o);
    }
}

/* Some images: their windows in frames, and the output y there. */
static void take_turn(const Product *p, Turn *t, const bf16 *frames, long images, const void *y, int full) {
  const Geometry *g = p->g;
  const Frame *f = &p->frame;
  const bf16 **window = t->window;
  for (long i = 0; i < images; i++)
    for (long r = 0; r < g->oh; r++)
      for (long q = 0; q < g->ow; q++)
        *window++ = frames + ((i * f->hp + r * g->stride) * f->wp + q * g->stride) * f->ce;
  t->pixels = window - t->window, t->pairs = (t->pixels + 1) / 2;
  pack_left(y, full, t->pixels, g->o, t->left);
#pragma omp parallel num_threads(g->threads) if (g->threads > 1)
  {
    bf16 *packed = room(t->pairs * PANEL * 4);
#pragma omp for schedule(static)
    for (long panel = 0; panel < p->panels; panel++) times_panel(p, t, panel, packed);
    free(packed);
  }
}

/* ---- the gradient ----------------------------------------------------------------------------------------------- */

/* Lines of the kernel in pieces of a panel at most. */
static Piece *pieces_of(long kh, long line) {
  Piece *piece = room(kh * panels_of(line) * (long)sizeof(Piece)), *next = piece;
  for (long i = 0; i < kh; i++)
    for (long at = 0; at < line; at += PANEL) *next++ = (Piece){i, at, least(PANEL, line - at)};
  return piece;
}

static Product product_of(const Geometry *g, Frame frame, int is_one_turn, float scale, float *dw) {
  const long line = g->kw * frame.ce, pieces = g->kh * panels_of(line);
  const long shared = most(1, PANEL / line), panels = (pieces + shared - 1) / shared;
  const int channels_last = frame.ce == g->c && (g->sc == 1 || g->c == 1) && (g->kw == 1 || g->sw == g->c);
  const int lies_so = channels_last && shared == 1 && is_one_turn;
  const int in_lines = (uintptr_t)dw % 64 == 0 && g->so % LANES == 0 && line % LANES == 0;
  const int past = lies_so && in_lines && g->o * g->kh * line > PAST;
  float *sums = lies_so ? NULL : room(g->o * panels * PANEL * 4);
  return (Product){g, frame, line, pieces, shared, panels, pieces_of(g->kh, line), scale, dw,
                   channels_last, lies_so, past, sums};
}

/* Write sums where they belong. */
static void spread(const Product *p) {
  const Geometry *g = p->g;
  const long ce = p->frame.ce;
  for (long o = 0; o < g->o; o++)
    for (long i = 0; i < p->pieces; i++) {
      const Piece piece = p->piece[i];
      const float *found = p->sums + (o * p->panels + i / p->shared) * PANEL + i % p->shared * p->line;
      float *to = p->dw + o * g->so + piece.line * g->sh;
      if (p->channels_last) {
        for (long k = 0; k < piece.columns; k++) to[piece.in_line + k] = p->scale * found[k];
        continue;
      }
      long tap = piece.in_line / ce, c = piece.in_line % ce;
      for (long k = 0; k < piece.columns; k++) {
        if (c < g->c) to[tap * g->sw + c * g->sc] = p->scale * found[k];
        if (++c == ce) c = 0, tap++;
      }
    }
}

/* dw (o, c, kh, kw, by its strides) = scale * sum over pixels of y times the window of x there. */
void weight_gradient(const Geometry *g, const void *x, int x_full, const float *x_scale, const void *y, int y_full,
                     float scale, float *dw) {
  if (is_few(g) && !x_scale) { /* windows of y, whose lines are short, times pixels of x */
    Geometry other = turned(g);
    other.so = g->sc, other.sc = g->so, other.sh = -g->sh, other.sw = -g->sw;
    weight_gradient(&other, y, y_full, NULL, x, x_full, scale, dw + (g->kh - 1) * g->sh + (g->kw - 1) * g->sw);
    return;
  }
  const Frame f = frame_of_input(g, x, x_full, x_scale);
  const long size = frame_size(&f), places = g->oh * g->ow, at_once = most(1, least(g->n, PIXELS / places));
  const Product p = product_of(g, f, at_once == g->n, scale, dw);
  bf16 *frames = lies_ready(&f) ? NULL : room(at_once * size * 2);
  Turn turn = {.window = room((at_once * places + 1) * (long)sizeof(bf16 *)),
               .left = room(g->o * ((at_once * places + 1) / 2) * 4)};
  for (long first = 0; first < g->n; first += at_once) {
    const long there = least(at_once, g->n - first);
    if (frames) fill(&f, first, there, frames);
    turn.is_first = first == 0;
    take_turn(&p, &turn, frames ? frames : (const bf16 *)f.x + first * size, there,
              (const char *)y + first * places * g->o * (y_full ? 4 : 2), y_full);
  }
  if (!p.lies_so) spread(&p);
  if (p.past) _mm_sfence();
  free((void *)p.piece);
  free(p.sums);
  free(turn.window);
  free(turn.left);
  free(frames);
}
