/* Memory that kernels take for themselves. */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A cache line more than asked for: what is read a register at a time may be read beyond its end. */
static inline void *room(long bytes) {
  void *found = aligned_alloc(64, (size_t)((bytes + 127) / 64 * 64));
  if (!found) { /* no way back from here through threads: the process ends, and says why */
    fprintf(stderr, "saddlepoint: there is no memory for %ld bytes in the kernels\n", bytes);
    abort();
  }
  return found;
}

/* The same, all of it 0. */
static inline void *zeros(long bytes) { return memset(room(bytes), 0, (size_t)((bytes + 127) / 64 * 64)); }
