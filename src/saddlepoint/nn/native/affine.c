/* Small affine maps in fp32, forward and backward in one call each: those of styles, whose errors reach everything. */
#pragma GCC optimize("O3") /* loops over a few registers want to be unrolled */
#include "vectors.h"

/* y (n, o) = LeakyReLU(scale x w' + bias_scale bias), of x (n, c), w (o, c) and, where there is one, bias (o). */
void affine_full(const float *x, const float *w, const float *bias, float scale, float bias_scale, float slope, float *y,
                 long n, long o, long c) {
  for (long j = 0; j < o; j++)
    for (long i = 0; i < n; i += 8) {
      const long there = n - i < 8 ? n - i : 8;
      f32x16 sum[8];
#pragma GCC unroll 8
      for (long b = 0; b < 8; b++) sum[b] = _mm512_setzero_ps();
      for (long k = 0; k < c; k += LANES) {
        const mask16 m = lanes(c - k);
        const f32x16 right = _mm512_maskz_loadu_ps(m, w + j * c + k);
#pragma GCC unroll 8
        for (long b = 0; b < 8; b++)
          sum[b] = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(m, x + (i + (b < there ? b : 0)) * c + k), right, sum[b]);
      }
#pragma GCC unroll 8
      for (long b = 0; b < 8; b++) {
        const float found = scale * _mm512_reduce_add_ps(sum[b]) + (bias ? bias_scale * bias[j] : 0);
        if (b < there) y[(i + b) * o + j] = found > 0 ? found : slope * found;
      }
    }
}

/* The way back: v = dy times the slopes of y (n, o), dx = scale v w, dw = scale v' x, db = bias_scale sum(v); dx, dw
 * and db where they are asked for. */
void affine_full_backward(const float *x, const float *w, const float *y, const float *dy, float scale, float bias_scale,
                          float slope, float *dx, float *dw, float *db, long n, long o, long c) {
  float *v = malloc((size_t)(n * o) * sizeof(float));
  for (long k = 0; k < n * o; k++) v[k] = y[k] > 0 ? dy[k] : slope * dy[k];
  for (long j = 0; j < o && db; j++) {
    float sum = 0;
    for (long i = 0; i < n; i++) sum += v[i * o + j];
    db[j] = bias_scale * sum;
  }
  const f32x16 times = _mm512_set1_ps(scale);
  for (long k = 0; k < c && dx; k += LANES) {
    const mask16 m = lanes(c - k);
    for (long i = 0; i < n; i += 8) {
      const long there = n - i < 8 ? n - i : 8;
      f32x16 sum[8];
#pragma GCC unroll 8
      for (long b = 0; b < 8; b++) sum[b] = _mm512_setzero_ps();
      for (long j = 0; j < o; j++) {
        const f32x16 right = _mm512_maskz_loadu_ps(m, w + j * c + k);
#pragma GCC unroll 8
        for (long b = 0; b < 8; b++)
          sum[b] = _mm512_fmadd_ps(_mm512_set1_ps(v[(i + (b < there ? b : 0)) * o + j]), right, sum[b]);
      }
#pragma GCC unroll 8
      for (long b = 0; b < 8; b++)
        if (b < there) _mm512_mask_storeu_ps(dx + (i + b) * c + k, m, _mm512_mul_ps(sum[b], times));
    }
  }
  for (long j = 0; j < o && dw; j += 8) {
    const long there = o - j < 8 ? o - j : 8;
    for (long k = 0; k < c; k += LANES) {
      const mask16 m = lanes(c - k);
      f32x16 sum[8];
#pragma GCC unroll 8
      for (long b = 0; b < 8; b++) sum[b] = _mm512_setzero_ps();
      for (long i = 0; i < n; i++) {
        const f32x16 right = _mm512_maskz_loadu_ps(m, x + i * c + k);
#pragma GCC unroll 8
        for (long b = 0; b < 8; b++)
          sum[b] = _mm512_fmadd_ps(_mm512_set1_ps(v[i * o + j + (b < there ? b : 0)]), right, sum[b]);
      }
#pragma GCC unroll 8
      for (long b = 0; b < 8; b++)
        if (b < there) _mm512_mask_storeu_ps(dw + (j + b) * c + k, m, _mm512_mul_ps(sum[b], times));
    }
  }
  free(v);
}
