// What the client programs share: their settings (name=value behind the verb), clocks, and what was done in every tenth of a second.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { kSlotMs = 100, kSlotsMax = 100000 };

static int argument_count;
static char** arguments;

static const char* text(const char* name) {
  const size_t length = strlen(name);
  for (int i = 2; i < argument_count; i++) {
    if (strncmp(arguments[i], name, length) == 0 && arguments[i][length] == '=') return arguments[i] + length + 1;
  }
  fprintf(stderr, "%s= is missing\n", name);
  exit(2);
}

static double number(const char* name) { return atof(text(name)); }

static double now_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double cpu_seconds(void) {
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static uint64_t slots[kSlotsMax];

static void count_slot(double since_start, uint64_t amount) {
  const size_t slot = (size_t)(since_start * 1000 / kSlotMs);
  if (slot < kSlotsMax) slots[slot] += amount;
}

// Those that are whole, as the items of a JSON array.
static void print_slots(double seconds) {
  const size_t count = (size_t)(seconds * 1000 / kSlotMs);
  for (size_t i = 0; i < count && i < kSlotsMax; i++) printf("%s%llu", i == 0 ? "" : ",", (unsigned long long)slots[i]);
}
