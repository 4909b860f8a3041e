/*
 * A stand-in for NVIDIA's libnvidia-ml.so.1: cards with known power, counters and faults.
 *
 * What it answers is a function of time and of a text file that tests/standin.py writes; the file's
 * path is in the environment variable STANDIN_NVML. Seconds count from `origin` on CLOCK_MONOTONIC,
 * or are what standin_set_now() was given last. Layouts are those of NVIDIA's nvml.h.
 */
#include "card.h"

/* -- the library and the system ---------------------------------------------------------------- */

int nvmlInitWithFlags(unsigned flags) {
    const char *path = getenv("STANDIN_NVML");
    (void)flags;
    int code = path ? standin_load(path) : DRIVER_NOT_LOADED;
    if (!code) code = init_code;
    initialised = !code;
    open_samples = 0;
    return code;
}

int nvmlShutdown(void) { return initialised ? (initialised = 0, SUCCESS) : UNINITIALIZED; }

const char *nvmlErrorString(int code) {
    return code == VERSION_MISMATCH ? "Argument version mismatch" : "an error of the stand-in";
}

static int write_text(char *to, unsigned length, const char *text) {
    if (strlen(text) >= length) return INSUFFICIENT_SIZE;
    strcpy(to, text);
    return SUCCESS;
}

int nvmlSystemGetDriverVersion(char *to, unsigned length) { return write_text(to, length, driver); }

int nvmlSystemGetCudaDriverVersion_v2(int *version) { return *version = 13000, SUCCESS; }

/* -- which devices there are ------------------------------------------------------------------- */

int nvmlDeviceGetCount_v2(unsigned *count) {
    if (!initialised) return UNINITIALIZED;
    *count = 0;
    for (size_t i = 0; i < device_count; i++) *count += !devices[i].card;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device **found) {
    for (size_t i = 0; i < device_count; i++)
        if (!devices[i].card && !index--) {
            CHECK(&devices[i]);
            return *found = &devices[i], SUCCESS;
        }
    return INVALID_ARGUMENT;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, Device **found) {
    for (size_t i = 0; i < device_count; i++)
        if (!strcmp(devices[i].uuid, uuid)) {
            CHECK(&devices[i]);
            return *found = &devices[i], SUCCESS;
        }
    return NOT_FOUND;
}

int nvmlDeviceGetUUID(Device *d, char *to, unsigned length) {
    CHECK(d);
    return write_text(to, length, d->uuid);
}

int nvmlDeviceGetName(Device *d, char *to, unsigned length) {
    CHECK(d);
    return write_text(to, length, d->name);
}

typedef struct {
    char bus_id_legacy[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
} PciInfo;

int nvmlDeviceGetPciInfo_v3(Device *d, PciInfo *pci) {
    CHECK(d);
    unsigned bus = (unsigned)(d->card ? d->card : d)->bus;
    *pci = (PciInfo){.bus = bus, .pci_device_id = 0x233010de};
    snprintf(pci->bus_id_legacy, sizeof pci->bus_id_legacy, "0000:%02X:00.0", bus & 0xff);
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", bus & 0xff);
    return SUCCESS;
}

int nvmlDeviceGetVirtualizationMode(Device *d, unsigned *mode) {
    CHECK(d);
    return *mode = (unsigned)d->virtualization, SUCCESS;
}

int nvmlDeviceGetPersistenceMode(Device *d, unsigned *mode) {
    CHECK_CARD(d);
    return *mode = (unsigned)d->persistence, SUCCESS;
}

int nvmlDeviceGetEccMode(Device *d, unsigned *current, unsigned *pending) {
    CHECK_CARD(d);
    return *current = *pending = (unsigned)d->ecc, SUCCESS;
}

/* -- MIG --------------------------------------------------------------------------------------- */

int nvmlDeviceGetMigMode(Device *d, unsigned *current, unsigned *pending) {
    CHECK_CARD(d);
    return *current = *pending = (unsigned)d->mig, SUCCESS;
}

int nvmlDeviceIsMigDeviceHandle(Device *d, unsigned *is_instance) {
    CHECK(d);
    return *is_instance = d->card != NULL, SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(Device *d, unsigned *count) {
    CHECK(d);
    return *count = MOST_INSTANCES, SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(Device *card, unsigned slot, Device **found) {
    CHECK(card);
    for (size_t i = 0; i < device_count; i++)
        if (devices[i].card == card && devices[i].slot == slot)
            return *found = &devices[i], SUCCESS;
    return NOT_FOUND;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Device *d, Device **card) {
    CHECK(d);
    return d->card ? (*card = d->card, SUCCESS) : INVALID_ARGUMENT;
}

int nvmlDeviceGetGpuInstanceId(Device *d, unsigned *id) {
    CHECK(d);
    return d->card ? (*id = d->gpu_instance, SUCCESS) : NOT_SUPPORTED;
}

/* -- power and energy -------------------------------------------------------------------------- */

int nvmlDeviceGetPowerUsage(Device *d, unsigned *milliwatts) {
    CHECK_CARD(d);
    return *milliwatts = (unsigned)lround(1e3 * average_watts(d)), SUCCESS;
}

int nvmlDeviceGetEnforcedPowerLimit(Device *d, unsigned *milliwatts) {
    CHECK_CARD(d);
    return *milliwatts = (unsigned)lround(1e3 * d->cap_watts), SUCCESS;
}

int nvmlDeviceGetTotalEnergyConsumption(Device *d, unsigned long long *millijoules) {
    CHECK_CARD(d);
    return *millijoules = (unsigned long long)floor(1e3 * counter_joules(d) + 1e-6), SUCCESS;
}

/* -- fields ------------------------------------------------------------------------------------ */

enum { DOUBLE, UNSIGNED, UNSIGNED_LONG, UNSIGNED_LONG_LONG, LONG_LONG, INT };

typedef struct {
    uint32_t id, scope;
    int64_t timestamp, latency_microseconds;
    uint32_t type, code;
    union {
        double d;
        unsigned u;
        unsigned long ul;
        unsigned long long ull;
        long long sll;
        int si;
    } value;
} FieldValue;

static void put(FieldValue *to, unsigned type, double value) {
    to->type = type;
    memset(&to->value, 0xff, sizeof to->value); /* so that a reader of the wrong member is seen */
    if (type == DOUBLE) to->value.d = value;
    if (type == UNSIGNED) to->value.u = (unsigned)value;
    if (type == UNSIGNED_LONG) to->value.ul = (unsigned long)value;
    if (type == UNSIGNED_LONG_LONG) to->value.ull = (unsigned long long)value;
    if (type == LONG_LONG) to->value.sll = (long long)value;
    if (type == INT) to->value.si = (int)value;
}

static int answer_field(const Device *d, FieldValue *to) {
    for (size_t i = 0; i < d->field_count; i++)
        if (d->fields[i].id == to->id)
            return put(to, d->fields[i].type, d->fields[i].value), SUCCESS;
    if (d->card) return NOT_SUPPORTED;
    switch (to->id) {
    case 74: /* NVML_FI_DEV_PERF_POLICY_POWER, in nanoseconds */
        put(to, UNSIGNED_LONG_LONG, floor(1e9 * integral(d, 0, now(), &d->cap_watts) + 1e-3));
        return SUCCESS;
    case 83: /* NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION, in millijoules */
        put(to, UNSIGNED_LONG_LONG, floor(1e3 * counter_joules(d) + 1e-6));
        return SUCCESS;
    case 185: /* NVML_FI_DEV_POWER_AVERAGE, in milliwatts */
        put(to, UNSIGNED, round(1e3 * average_watts(d)));
        return SUCCESS;
    case 186: /* NVML_FI_DEV_POWER_INSTANT, in milliwatts */
        put(to, UNSIGNED, round(1e3 * instant_watts(d)));
        return SUCCESS;
    default:
        return NOT_SUPPORTED;
    }
}

int nvmlDeviceGetFieldValues(Device *d, int count, FieldValue *values) {
    CHECK(d);
    for (int i = 0; i < count; i++) {
        char what[32];
        snprintf(what, sizeof what, "field %u", values[i].id);
        values[i].timestamp = (int64_t)time(NULL) * 1000000;
        values[i].code = (uint32_t)fault(d, what);
        if (!values[i].code) values[i].code = (uint32_t)answer_field(d, &values[i]);
    }
    return SUCCESS;
}

/* -- state ------------------------------------------------------------------------------------- */

int nvmlDeviceGetUtilizationRates(Device *d, unsigned rates[2]) {
    CHECK_CARD(d);
    if (d->mig) return NOT_SUPPORTED;
    return rates[0] = (unsigned)d->busy_percent, rates[1] = 0, SUCCESS;
}

int nvmlDeviceGetMemoryInfo(Device *d, unsigned long long memory[3]) {
    CHECK(d);
    memory[0] = (unsigned long long)d->memory_total_bytes;
    memory[2] = (unsigned long long)d->memory_used_bytes;
    memory[1] = memory[0] - memory[2];
    return SUCCESS;
}

int nvmlDeviceGetClockInfo(Device *d, unsigned kind, unsigned *megahertz) {
    CHECK(d);
    if (kind > 2) return NOT_SUPPORTED;
    double hertz = kind == 2 ? d->memory_clock_hertz : d->sm_clock_hertz;
    return *megahertz = (unsigned)lround(hertz / 1e6), SUCCESS;
}

int nvmlDeviceGetTemperature(Device *d, unsigned sensor, unsigned *celsius) {
    CHECK(d);
    return sensor ? INVALID_ARGUMENT : (*celsius = (unsigned)d->temperature_celsius, SUCCESS);
}

int nvmlDeviceGetCurrentClocksEventReasons(Device *d, unsigned long long *mask) {
    CHECK(d);
    int capped = d->pieces && watts(d, now()) > d->cap_watts;
    return *mask = (unsigned long long)d->reasons | (capped ? POWER_CAPPED : 0), SUCCESS;
}

typedef struct {
    unsigned pid;
    unsigned long long used_bytes;
    unsigned gpu_instance, compute_instance;
} Process;

int nvmlDeviceGetComputeRunningProcesses_v3(Device *d, unsigned *count, Process *running) {
    CHECK(d);
    unsigned room = *count;
    *count = (unsigned)d->pid_count;
    if (room < *count) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < *count; i++)
        running[i] = (Process){d->pids[i], 1 << 20, d->gpu_instance, 0};
    return SUCCESS;
}

/* -- GPM --------------------------------------------------------------------------------------- */

typedef struct { const Device *of; double at; } Sample;
typedef struct { unsigned id, code; double value; const char *info[3]; } Metric;
typedef struct { unsigned version, count; Sample *first, *second; Metric metrics[]; } MetricsGet;

int nvmlGpmQueryDeviceSupport(Device *d, unsigned support[2]) {
    CHECK(d);
    return support[1] = (unsigned)d->gpm_supported, SUCCESS;
}

int nvmlGpmSampleAlloc(Sample **sample) {
    *sample = calloc(1, sizeof **sample);
    return open_samples++, SUCCESS;
}

int nvmlGpmSampleFree(Sample *sample) {
    free(sample);
    return open_samples--, SUCCESS;
}

int nvmlGpmSampleGet(Device *d, Sample *sample) {
    CHECK_CARD(d);
    return *sample = (Sample){d, now()}, SUCCESS;
}

int nvmlGpmMigSampleGet(Device *card, unsigned gpu_instance, Sample *sample) {
    CHECK_CARD(card);
    for (size_t i = 0; i < device_count; i++)
        if (devices[i].card == card && devices[i].gpu_instance == gpu_instance)
            return *sample = (Sample){&devices[i], now()}, SUCCESS;
    return INVALID_ARGUMENT;
}

static void measure(const Device *d, double begin, double end, Metric *metric) {
    const Device *card = d->card ? d->card : d;
    metric->code = NOT_SUPPORTED;
    for (size_t i = 0; i < d->activity_count; i++)
        if (d->activities[i].id == metric->id) {
            metric->value = d->activities[i].at_cap * mean_watts(card, begin, end) / card->cap_watts;
            metric->code = SUCCESS;
        }
}

/* NVIDIA asks for more than 100 ms between two samples; this stand-in refuses less. */
int nvmlGpmMetricsGet(MetricsGet *asked) {
    if (asked->version != 1) return VERSION_MISMATCH;
    const Sample *first = asked->first, *second = asked->second;
    CHECK(first->of);
    if (first->of != second->of || second->at - first->at <= 0.1) return INVALID_ARGUMENT;
    for (unsigned i = 0; i < asked->count; i++)
        measure(first->of, first->at, second->at, &asked->metrics[i]);
    return SUCCESS;
}
