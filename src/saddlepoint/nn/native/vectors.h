/* Sixteen numbers at a time: fp32 in a register, bf16 or fp32 in memory. For processors with AVX-512 and bf16 products.
 *
 * Numbers that are not usual: NaN and infinities go through as in PyTorch, but for dropout, which makes what it drops
 * 0. The processor's bf16 instructions (products, and rounding to bf16) take denormal numbers, below 2^-126, for 0 and
 * make none; PyTorch keeps them in some of its products. So far below the numbers of a network nothing depends on it.
 */
#pragma once
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

typedef uint16_t bf16;
typedef __m512 f32x16;
typedef __mmask16 mask16;

enum { LANES = 16 };

INLINE long least(long a, long b) { return a < b ? a : b; }

INLINE long most(long a, long b) { return a > b ? a : b; }

INLINE mask16 lanes(long left) { return left >= 16 ? 0xffff : (mask16)((1u << left) - 1); }

INLINE mask16 lanes_or_none(long left) { return left > 0 ? lanes(left) : 0; }

INLINE f32x16 load_bf16(const bf16 *p, mask16 m) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, p)), 16));
}

INLINE f32x16 load(const void *p, long at, int full, mask16 m) {
  return full ? _mm512_maskz_loadu_ps(m, (const float *)p + at) : load_bf16((const bf16 *)p + at, m);
}

/* Rounded to the nearest, ties to even. The processor's own instruction takes denormal numbers for 0. */
INLINE void store_bf16(bf16 *p, f32x16 x, mask16 m) {
  _mm256_mask_storeu_epi16(p, m, (__m256i)_mm512_cvtneps_pbh(x));
}

INLINE void store(void *p, long at, int full, f32x16 x, mask16 m) {
  if (full) _mm512_mask_storeu_ps((float *)p + at, m, x);
  else store_bf16((bf16 *)p + at, x, m);
}

/* LeakyReLU of slope 0 to 1; the maximum keeps NaN: its second operand is x. Slope 0: 0 times infinity would be NaN. */
INLINE f32x16 leaky(f32x16 x, float slope) {
  const f32x16 low = slope == 0 ? _mm512_setzero_ps() : _mm512_mul_ps(x, _mm512_set1_ps(slope));
  return _mm512_max_ps(low, x);
}

/* The larger one, and NaN if one is; the processor's own maximum gives the second operand then. */
INLINE f32x16 larger(f32x16 a, f32x16 b) {
  return _mm512_mask_mov_ps(_mm512_max_ps(a, b), _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), a);
}

/* v times the slope of the LeakyReLU that made `activated`. */
INLINE f32x16 sloped(f32x16 v, f32x16 activated, float slope) {
  const mask16 below = _mm512_cmp_ps_mask(activated, _mm512_setzero_ps(), _CMP_LE_OQ);
  return _mm512_mask_mul_ps(v, below, v, _mm512_set1_ps(slope));
}

/* Thirty-two numbers of two rows, each below the other: a0 b0 a1 b1 ..., in two registers. */
INLINE void interleave(__m512i a, __m512i b, __m512i *first, __m512i *second) {
  const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8,
                                       39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  *first = _mm512_permutex2var_epi16(a, low, b);
  *second = _mm512_permutex2var_epi16(a, high, b);
}

/* Sixteen rows of sixteen 32-bit numbers, transposed in place. */
INLINE void transpose(__m512i r[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}
