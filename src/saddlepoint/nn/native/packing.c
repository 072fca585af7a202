/* How products read what they multiply: weights in panels of columns, images in frames of zeros. */
#include "products.h"

/* ---- weights ---------------------------------------------------------------------------------------------------- */

/* Thirty-two numbers times `s`, rounded: sixteen, then sixteen more. */
INLINE __m512i rounded(f32x16 first, f32x16 second, f32x16 s) {
  return (__m512i)_mm512_cvtne2ps_pbh(_mm512_mul_ps(second, s), _mm512_mul_ps(first, s));
}

/* Both halves of a register in pairs: a0 b0 a1 b1 ... of a0 a1 ... b0 b1 ... */
INLINE __m512i halves_in_pairs(__m512i both) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,
                                         23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, both);
}

INLINE f32x16 row_or_zeros(const float *w, long offset, mask16 m) {
  return offset < 0 ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(m, w + offset);
}

/* Sixteen columns that lie side by side: two rows, one below the other. */
static void pack_rows(const float *w, const long *offset, long pairs, float scale, mask16 m, long step, bf16 *to) {
  const f32x16 s = _mm512_set1_ps(scale);
  for (long k = 0; k < pairs; k++) {
    const f32x16 one = row_or_zeros(w, offset[2 * k], m), two = row_or_zeros(w, offset[2 * k + 1], m);
    _mm512_storeu_si512(to + k * step, halves_in_pairs(rounded(one, two, s)));
  }
}

/* Sixteen columns `apart` from one another: sixteen pairs of each at a time, transposed. */
static void pack_columns(const float *w, long apart, const long *offset, long pairs, float scale, mask16 m, long step,
                         bf16 *to) {
  const f32x16 s = _mm512_set1_ps(scale);
  for (long k = 0; k < pairs; k += LANES) {
    const long there = least(pairs - k, LANES);
    __m512i block[LANES];
    int together = there == LANES && offset[2 * k] >= 0;
    for (long i = 1; i < 2 * there && together; i++) together = offset[2 * k + i] == offset[2 * k] + i;
    if (together) {
#pragma GCC unroll 16
      for (int l = 0; l < LANES; l++) {
        const float *p = w + (m >> l & 1 ? l * apart : 0) + offset[2 * k];
        block[l] = rounded(_mm512_loadu_ps(p), _mm512_loadu_ps(p + LANES), s);
        if (!(m >> l & 1)) block[l] = _mm512_setzero_si512();
      }
    } else
      for (int l = 0; l < LANES; l++) {
        float line[2 * LANES] = {0};
        if (m >> l & 1)
          for (long i = 0; i < 2 * there; i++)
            if (offset[2 * k + i] >= 0) line[i] = w[l * apart + offset[2 * k + i]];
        block[l] = rounded(_mm512_loadu_ps(line), _mm512_loadu_ps(line + LANES), s);
      }
    transpose(block);
    for (long i = 0; i < there; i++) _mm512_storeu_si512(to + (k + i) * step, block[i]);
  }
}

/* Columns (lanes) of numbers w[lane * apart + offset[k]], k in pairs, as panels; offset -1: a zero. */
void pack(const float *w, long columns, long apart, const long *offset, long pairs, float scale, bf16 *to) {
  for (long panel = 0; panel < panels_of(columns); panel++) {
    const int vectors = vectors_of(columns, panel);
    for (int v = 0; v < vectors; v++) {
      const long lane = panel * PANEL + v * LANES;
      const mask16 m = lanes(columns - lane);
      bf16 *out = to + v * 32;
      if (apart == 1) pack_rows(w + lane, offset, pairs, scale, m, vectors * 32, out);
      else pack_columns(w + lane * apart, apart, offset, pairs, scale, m, vectors * 32, out);
    }
    to += pairs * vectors * 32;
  }
}

/* An affine map's weights (rows, columns) as both products read them, in one pass over memory: columns of `forward` are
 * rows, those of `back` are columns. What `pack` makes of them, twice. Rows are a multiple of 16, columns of 2. */
void pack_both(const float *w, long rows, long columns, float scale, bf16 *forward, bf16 *back) {
  const f32x16 s = _mm512_set1_ps(scale);
  for (long r = 0; r < rows; r += LANES) {
    const int across = vectors_of(rows, r / PANEL);
    bf16 *to = forward + r / PANEL * PANEL * columns + r % PANEL / LANES * 32;
    for (long c = 0; c < columns; c += 32) {
      __m512i block[LANES];
      const mask16 one = lanes(columns - c), two = lanes_or_none(columns - c - LANES);
      const long halves = two ? 2 : 1, pairs = least(columns - c, 32) / 2;
#pragma GCC unroll 16
      for (long l = 0; l < LANES; l++) {
        const float *p = w + (r + l) * columns + c;
        block[l] = rounded(_mm512_maskz_loadu_ps(one, p), _mm512_maskz_loadu_ps(two, p + LANES), s);
      }
      for (long l = 0; l < LANES; l += 2) {
        const __m512i low = _mm512_shuffle_i64x2(block[l], block[l + 1], 0x44);
        const __m512i high = _mm512_shuffle_i64x2(block[l], block[l + 1], 0xee);
        const __m512i both[2] = {low, high};
        for (long h = 0; h < halves; h++) { /* sixteen columns of two rows */
          const long k = c + h * LANES, width = vectors_of(columns, k / PANEL);
          bf16 *there = back + k / PANEL * PANEL * rows + ((r + l) / 2 * width + k % PANEL / LANES) * 32;
          _mm512_stream_si512((__m512i *)there, halves_in_pairs(both[h]));
        }
      }
      transpose(block);
      for (long i = 0; i < pairs; i++) _mm512_stream_si512((__m512i *)(to + (c / 2 + i) * across * 32), block[i]);
    }
  }
  _mm_sfence();
}

/* ---- images ----------------------------------------------------------------------------------------------------- */

Frame frame_of_input(const Geometry *g, const void *x, int full, const float *scale) {
  /* Only what windows read: a stride may leave the last rows out. */
  const long hp = most(g->h + g->ph, (g->oh - 1) * g->stride + g->kh);
  const long wp = most(g->w + g->pw, (g->ow - 1) * g->stride + g->kw);
  return (Frame){x, full, g->h, g->w, g->c, paired(g->c, g->kw), hp, wp, g->ph, g->pw, scale};
}

/* Copy images into frames of zeros. */
void fill(const Frame *f, long first, long images, bf16 *to) {
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
