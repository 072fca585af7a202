/* exp, sigmoid and tanh of sixteen numbers, in fp32: errors of 3 units in the last place at most. */
#pragma once
#include "vectors.h"

/* exp(x) - 1 = 2^k (1 + p) - 1 for |x| <= 88: x = k ln 2 + f, |f| <= ln(2) / 2, and p = exp(f) - 1, a Taylor polynomial
 * of degree 8: what it leaves out is below f^9 / 9!, 6e-10 of f. Returns p, and 2^k. */
INLINE f32x16 powers(f32x16 x, f32x16 *two_k) {
  const f32x16 k = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
  /* ln 2 in two parts (Cody and Waite): k times the first is exact. */
  f32x16 f = _mm512_fnmadd_ps(k, _mm512_set1_ps(0.693359375f), x);
  f = _mm512_fnmadd_ps(k, _mm512_set1_ps(-2.12194440e-4f), f);
  const float factor[7] = {1.f / 40320, 1.f / 5040, 1.f / 720, 1.f / 120, 1.f / 24, 1.f / 6, 0.5f};
  f32x16 p = _mm512_set1_ps(factor[0]);
#pragma GCC unroll 6
  for (int i = 1; i < 7; i++) p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(factor[i]));
  *two_k = _mm512_scalef_ps(_mm512_set1_ps(1), k);
  return _mm512_fmadd_ps(_mm512_mul_ps(f, f), p, f);
}

/* Within the limits; NaN stays: the second operand is the answer where one is none. */
INLINE f32x16 within(f32x16 x, float limit) {
  return _mm512_max_ps(_mm512_set1_ps(-limit), _mm512_min_ps(_mm512_set1_ps(limit), x));
}

/* 1 / (1 + exp(-x)); below -88 what is there at -88, 6e-39. */
INLINE f32x16 sigmoid(f32x16 x) {
  const f32x16 one = _mm512_set1_ps(1);
  f32x16 two_k;
  const f32x16 p = powers(within(_mm512_sub_ps(_mm512_setzero_ps(), x), 88), &two_k);
  return _mm512_div_ps(one, _mm512_add_ps(one, _mm512_fmadd_ps(two_k, p, two_k)));
}

/* e / (e + 2) with e = exp(2 x) - 1, of |x|: no leading digits cancel near 0. From 9.02 on it is 1. */
INLINE f32x16 tangent(f32x16 x) {
  const f32x16 one = _mm512_set1_ps(1), a = within(_mm512_abs_ps(x), 20);
  f32x16 two_k;
  const f32x16 p = powers(_mm512_add_ps(a, a), &two_k);
  const f32x16 e = _mm512_fmadd_ps(two_k, p, _mm512_sub_ps(two_k, one));
  const f32x16 y = _mm512_div_ps(e, _mm512_add_ps(e, _mm512_set1_ps(2)));
  const __m512i sign = _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(INT32_MIN));
  return _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(y), sign));
}
