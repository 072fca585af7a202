/* Small affine maps in fp32, forward and backward in one call each: those of styles, whose errors reach everything. */
#pragma GCC optimize("O3") /* loops over a few registers want to be unrolled */
#include "room.h"
#include "vectors.h"

/* y (n, o) = LeakyReLU(scale x w' + bias_scale bias), of x (n, c), w (o, c) and, where there is one, bias (o). */
void affine_full(const float *x, const float *w, const float *bias, float scale, float bias_scale, float slope,
                 float *y, long n, long o, long c) {
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

/* Sixteen columns of eight rows of out, of which `there` are written: `scale` times the sum over k of row k of `right`
 * times a[row * down + k * apart]. Lines of `right` (depth, c) and of out are c long. */
INLINE void eight_rows(const float *a, long down, long apart, long there, const float *right, long depth, long c,
                       float scale, float *out, mask16 m) {
  f32x16 sum[8];
#pragma GCC unroll 8
  for (long b = 0; b < 8; b++) sum[b] = _mm512_setzero_ps();
  for (long k = 0; k < depth; k++) {
    const f32x16 line = _mm512_maskz_loadu_ps(m, right + k * c);
#pragma GCC unroll 8
    for (long b = 0; b < 8; b++)
      sum[b] = _mm512_fmadd_ps(_mm512_set1_ps(a[(b < there ? b : 0) * down + k * apart]), line, sum[b]);
  }
#pragma GCC unroll 8
  for (long b = 0; b < 8; b++)
    if (b < there) _mm512_mask_storeu_ps(out + b * c, m, _mm512_mul_ps(sum[b], _mm512_set1_ps(scale)));
}

/* The way back: v = dy times the slopes of y (n, o), dx = scale v w, dw = scale v' x, db = bias_scale sum(v); dx, dw
 * and db where they are asked for. */
void affine_full_backward(const float *x, const float *w, const float *y, const float *dy, float scale,
                          float bias_scale, float slope, float *dx, float *dw, float *db, long n, long o, long c) {
  float *v = room(n * o * 4);
  for (long k = 0; k < n * o; k++) v[k] = y[k] > 0 ? dy[k] : slope * dy[k];
  for (long j = 0; j < o && db; j++) {
    float sum = 0;
    for (long i = 0; i < n; i++) sum += v[i * o + j];
    db[j] = bias_scale * sum;
  }
  for (long k = 0; k < c && dx; k += LANES)
    for (long i = 0; i < n; i += 8)
      eight_rows(v + i * o, o, 1, n - i, w + k, o, c, scale, dx + i * c + k, lanes(c - k));
  for (long j = 0; j < o && dw; j += 8)
    for (long k = 0; k < c; k += LANES)
      eight_rows(v + j, 1, o, o - j, x + k, n, c, scale, dw + j * c + k, lanes(c - k));
  free(v);
}
