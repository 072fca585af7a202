/* Convolutions in bf16, and the gradients of their inputs; see products.h. */
#include "products.h"

enum { CACHED = 96 * 1024 /* elements of input that are padded at a time */ };

/* ---- dense convolutions ----------------------------------------------------------------------------------------- */

/* One of stride `step`: of all pixels of the result, or of those that have the same taps. */
typedef struct {
  long rows, columns;           /* of its result, for an image */
  long step;                    /* between windows, in pixels of the frame */
  long above, before;           /* where the first window begins in the frame */
  long kh, kw;                  /* of the window */
  long to_row, to_column;       /* where its first pixel lies in the whole result */
  long every;                   /* so many pixels apart its pixels lie there */
  long width, height;           /* of the whole result */
} Part;

/* Multiply the windows of a range of images by packed weights. */
static void convolve(const Frame *f, const Part *part, long first, long images, const bf16 *frames, const bf16 *packed,
                     const After *after, void *y, long channels, Row *row) {
  long count = 0;
  for (long i = 0; i < images; i++)
    for (long r = 0; r < part->rows; r++)
      for (long q = 0; q < part->columns; q++) {
        const long down = part->above + r * part->step, right = part->before + q * part->step;
        const long to_row = part->to_row + r * part->every, to_column = part->to_column + q * part->every;
        row[count++] = (Row){frames + ((i * f->hp + down) * f->wp + right) * f->ce,
                             ((first + i) * part->height + to_row) * part->width + to_column, first + i};
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

/* ---- the gradient of the input ---------------------------------------------------------------------------------- */

/* It falls into stride^2 parts: pixels of the input that the same taps of the kernel reach.
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
  const int taps_lie_together = (g->sc == 1 || g->c == 1) && g->sw == g->c && g->sh == g->kw * g->c;
  return taps_lie_together && g->c <= 4 && g->stride <= 4 && g->kh * g->kw * g->c <= 4 * PANEL && g->o % 2 == 0;
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
          for (long o = 0; o < ce; o++) {
            const long tap = (a.phase + i * g->stride) * g->sh + (b.phase + j * g->stride) * g->sw;
            offset[k++] = o < g->o ? tap + o * g->so : -1;
          }
      pack(w, g->c, g->sc, offset, k / 2, scale, to);
      to += k * packed_columns(g->c);
    }
  free(offset);
}

/* Write a row of the input: what the taps of all output pixels send there, added up. What follows is of lanes, those of
 * one image. */
static void fold(const Geometry *g, const float *taps, long pitch, const After *lanes_of, long image, long r, void *x) {
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
    const long skipped = most(0, g->pw - j * g->stride) * g->c;
    const long there = least(g->stride, g->w + g->pw - j * g->stride) * g->c;
    const mask16 m = lanes(there) & (mask16)~lanes(skipped);
    const Row row = {NULL, (image * g->h + r) * g->w + j * g->stride - g->pw, 0};
    store(x, row.to * g->c, (int)lanes_of->full, followed(sum, lanes_of, &row, 0, g->c, m), m);
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
    /* The same for the pixels of a stride, side by side; noise comes with strides of 1 only. */
    After lanes_of = *after;
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
      for (long r = 0; r < g->h; r++) fold(g, taps, pitch, &lanes_of, i, r, x);
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
      parts[number++] = (Part){a.count, b.count, 1, f.top + a.first, f.left + b.first, a.taps, b.taps,
                               r, q, g->stride, g->w, g->h};
      packed += a.taps * b.taps * f.ce * packed_columns(g->c);
    }
  convolve_all(&f, parts, number, weights, after, x, g->n, g->c, g->threads);
}

/* ---- the convolution -------------------------------------------------------------------------------------------- */

/* With few outputs most lanes would be idle, too: the convolution is the input gradient of the turned kernel. */
int is_few(const Geometry *g) {
  const long taps = g->kh * g->kw;
  const int keeps_its_size = g->stride == 1 && g->ph < g->kh && g->pw < g->kw && 2 * g->oh * g->ow > g->h * g->w;
  return keeps_its_size && g->o <= 4 && g->c >= 8 && g->c % 2 == 0 && taps > 1 && taps * g->o <= 2 * PANEL;
}

Geometry turned(const Geometry *g) {
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
    float *turned_weights = room(g->o * g->c * g->kh * g->kw * 4), *next = turned_weights;
    for (long c = 0; c < g->c; c++)
      for (long i = g->kh - 1; i >= 0; i--)
        for (long j = g->kw - 1; j >= 0; j--)
          for (long o = 0; o < g->o; o++) *next++ = w[o * g->so + c * g->sc + i * g->sh + j * g->sw];
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
    input_gradient(&other, x, full, scale, packed, after, y);
    return;
  }
  const Frame f = frame_of_input(g, x, full, scale);
  const Part part = {g->oh, g->ow, g->stride, 0, 0, g->kh, g->kw, 0, 0, 1, g->ow, g->oh};
  convolve_all(&f, &part, 1, &packed, after, y, g->n, g->o, g->threads);
}
