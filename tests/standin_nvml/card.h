/*
 * A simulated card: its power over time, the values derived from it, its faults, and the file
 * that describes it.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    SUCCESS = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9,
    VERSION_MISMATCH = 25,
    UNKNOWN = 999,
};

enum { MOST_DEVICES = 32, MOST_ITEMS = 32, MOST_INSTANCES = 7, POWER_CAPPED = 0x4 };

/* -- devices ----------------------------------------------------------------------------------- */

typedef struct { double at, watts; } Piece;
typedef struct { char what[64]; int code; double from; } Fault;
typedef struct { unsigned id, type; double value; } Field;
typedef struct { unsigned id; double at_cap; } Activity;

typedef struct Device {
    struct Device *card; /* of which this is a MIG instance, or NULL */
    unsigned slot, gpu_instance;
    char uuid[96], name[96];
    Piece *curve;
    size_t pieces;
    Fault faults[MOST_ITEMS];
    Field fields[MOST_ITEMS];
    Activity activities[MOST_ITEMS];
    unsigned pids[MOST_ITEMS];
    size_t fault_count, field_count, activity_count, pid_count;
    double counter_start_joules, counter_period, counter_lag, counter_gain, counter_reset_at;
    double instant_period, instant_lag;
    double cap_watts, busy_percent, memory_total_bytes, memory_used_bytes;
    double sm_clock_hertz, memory_clock_hertz, temperature_celsius, reasons;
    double persistence, ecc, mig, virtualization, gpm_supported, bus;
} Device;

#define NUMBER(name) { #name, offsetof(Device, name) }
static const struct { const char *key; size_t offset; } NUMBERS[] = {
    NUMBER(counter_start_joules), NUMBER(counter_period), NUMBER(counter_lag),
    NUMBER(counter_gain), NUMBER(counter_reset_at), NUMBER(instant_period), NUMBER(instant_lag),
    NUMBER(cap_watts), NUMBER(busy_percent), NUMBER(memory_total_bytes),
    NUMBER(memory_used_bytes), NUMBER(sm_clock_hertz), NUMBER(memory_clock_hertz),
    NUMBER(temperature_celsius), NUMBER(reasons), NUMBER(persistence), NUMBER(ecc), NUMBER(mig),
    NUMBER(virtualization), NUMBER(gpm_supported), NUMBER(bus),
};

static Device devices[MOST_DEVICES];
static size_t device_count;
static char driver[80];
static int init_code, initialised, open_samples;
static double origin, virtual_now = NAN;

/* -- time and what follows from it ------------------------------------------------------------- */

static double now(void) {
    struct timespec read;
    if (!isnan(virtual_now)) return virtual_now;
    clock_gettime(CLOCK_MONOTONIC, &read);
    return read.tv_sec + read.tv_nsec / 1e9 - origin;
}

/* The last moment at which something with this period and lag was brought up to date. */
static double updated(double at, double period, double lag) {
    at -= lag;
    return period > 0 ? floor(at / period + 1e-9) * period : at;
}

static double within(double at, double low, double high) {
    return at < low ? low : at > high ? high : at;
}

static double watts(const Device *d, double at) {
    double found = d->curve[0].watts;
    for (size_t i = 1; i < d->pieces && d->curve[i].at <= at; i++) found = d->curve[i].watts;
    return found;
}

/* Integrate watts, or where `over` is given the seconds above it, from one second to another. */
static double integral(const Device *d, double since, double until, const double *over) {
    double sum = 0;
    for (size_t i = 0; i < d->pieces; i++) {
        double begin = i ? d->curve[i].at : -INFINITY;
        double end = i + 1 < d->pieces ? d->curve[i + 1].at : INFINITY;
        double height = over ? d->curve[i].watts > *over : d->curve[i].watts;
        sum += height * (within(until, begin, end) - within(since, begin, end));
    }
    return sum;
}

static double mean_watts(const Device *d, double begin, double end) {
    return integral(d, begin, end, NULL) / (end - begin);
}

static double counter_joules(const Device *d) {
    double at = updated(now(), d->counter_period, d->counter_lag);
    if (at >= d->counter_reset_at)
        return d->counter_gain * integral(d, d->counter_reset_at, at, NULL);
    return d->counter_start_joules + d->counter_gain * integral(d, 0, at, NULL);
}

static double instant_watts(const Device *d) {
    return watts(d, updated(now(), d->instant_period, d->instant_lag));
}

static double average_watts(const Device *d) { return mean_watts(d, now() - 1, now()); }

/* -- faults ------------------------------------------------------------------------------------ */

static int fault(const Device *d, const char *what) {
    if (!initialised) return UNINITIALIZED;
    if (!d) return INVALID_ARGUMENT;
    for (size_t i = 0; i < d->fault_count; i++) {
        const Fault *each = &d->faults[i];
        int meant = !strcmp(each->what, "*") || !strcmp(each->what, what);
        if (meant && now() >= each->from) return each->code;
    }
    return d->card ? fault(d->card, "*") : SUCCESS;
}

#define CHECK(device)                                \
    do {                                             \
        int found_fault = fault(device, __func__);   \
        if (found_fault) return found_fault;         \
    } while (0)

#define CHECK_CARD(device)                           \
    do {                                             \
        CHECK(device);                               \
        if ((device)->card) return NOT_SUPPORTED;    \
    } while (0)

/* -- the file ---------------------------------------------------------------------------------- */

static size_t next(size_t *count, size_t most) {
    if (*count == most) abort();
    return (*count)++;
}

static Device *new_device(const char *uuid) {
    Device *d = &devices[next(&device_count, MOST_DEVICES)];
    Piece *curve = d->curve;
    memset(d, 0, sizeof *d);
    d->curve = curve;
    snprintf(d->uuid, sizeof d->uuid, "%s", uuid);
    return d;
}

static void add_instance(Device *card, const char *rest) {
    char uuid[96];
    unsigned slot, gpu_instance;
    if (sscanf(rest, "%95s %u %u", uuid, &slot, &gpu_instance) != 3) abort();
    Device *d = new_device(uuid);
    d->card = card->card ? card->card : card;
    d->slot = slot;
    d->gpu_instance = gpu_instance;
}

static void add_piece(Device *d, const char *rest) {
    Piece piece;
    if (sscanf(rest, "%lf %lf", &piece.at, &piece.watts) != 2) abort();
    d->curve = realloc(d->curve, (d->pieces + 1) * sizeof *d->curve);
    d->curve[d->pieces++] = piece;
}

static void add_fault(Device *d, const char *rest) {
    Fault *f = &d->faults[next(&d->fault_count, MOST_ITEMS)];
    if (sscanf(rest, "%d %lf %63[^\n]", &f->code, &f->from, f->what) != 3) abort();
}

static void add_field(Device *d, const char *rest) {
    Field *f = &d->fields[next(&d->field_count, MOST_ITEMS)];
    if (sscanf(rest, "%u %u %lf", &f->id, &f->type, &f->value) != 3) abort();
}

static void add_activity(Device *d, const char *rest) {
    Activity *a = &d->activities[next(&d->activity_count, MOST_ITEMS)];
    if (sscanf(rest, "%u %lf", &a->id, &a->at_cap) != 2) abort();
}

static void add_pid(Device *d, const char *rest) {
    d->pids[next(&d->pid_count, MOST_ITEMS)] = (unsigned)atoi(rest);
}

static void set_number(Device *d, const char *key, const char *rest) {
    for (size_t i = 0; i < sizeof NUMBERS / sizeof *NUMBERS; i++)
        if (!strcmp(NUMBERS[i].key, key)) {
            *(double *)((char *)d + NUMBERS[i].offset) = strtod(rest, NULL);
            return;
        }
    fprintf(stderr, "stand-in NVML: no such key: %s\n", key);
    abort();
}

static void take(const char *key, const char *rest) {
    Device *d = device_count ? &devices[device_count - 1] : NULL;
    if (!strcmp(key, "driver")) snprintf(driver, sizeof driver, "%s", rest);
    else if (!strcmp(key, "init")) init_code = atoi(rest);
    else if (!strcmp(key, "origin")) origin = strtod(rest, NULL);
    else if (!strcmp(key, "gpu")) new_device(rest);
    else if (!strcmp(key, "instance")) add_instance(d, rest);
    else if (!strcmp(key, "name")) snprintf(d->name, sizeof d->name, "%s", rest);
    else if (!strcmp(key, "piece")) add_piece(d, rest);
    else if (!strcmp(key, "fault")) add_fault(d, rest);
    else if (!strcmp(key, "field")) add_field(d, rest);
    else if (!strcmp(key, "activity")) add_activity(d, rest);
    else if (!strcmp(key, "pid")) add_pid(d, rest);
    else set_number(d, key, rest);
}

/* Read the file anew; handles that were given stay valid. */
int standin_load(const char *path) {
    char line[256], key[64];
    int length;
    FILE *file = fopen(path, "r");
    if (!file) return DRIVER_NOT_LOADED;
    device_count = 0;
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "%63s %n", key, &length) == 1) take(key, line + length);
    }
    fclose(file);
    return SUCCESS;
}

/* Let this be the time from now on; NaN follows the clock again. */
void standin_set_now(double seconds) { virtual_now = seconds; }

int standin_open_samples(void) { return open_samples; }
