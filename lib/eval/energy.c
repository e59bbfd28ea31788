/* Energy counters of processors and cards; see energy.h. */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "eval/energy.h"

/* A number of package i: 0, or -1. */
static int
package(const struct sq_energy *e, size_t i, const char *file, double *v)
{
	char path[256];
	FILE *f;
	int n;

	snprintf(path, sizeof(path), "%s/intel-rapl:%zu/%s", e->root, i, file);
	if ((f = fopen(path, "r")) == NULL)
		return -1;
	n = fscanf(f, "%lf", v);
	fclose(f);
	return n == 1 ? 0 : -1;
}

/* The cards that have a counter (Volta and later). */
static void
open_cards(struct sq_energy *e)
{
	int (*init)(void), (*count)(unsigned *), (*handle)(unsigned, void **);
	unsigned n = 0, i;
	unsigned long long mj;

	if ((e->nvml = dlopen("libnvidia-ml.so.1", RTLD_NOW)) == NULL)
		return;
	*(void **)&init = dlsym(e->nvml, "nvmlInit_v2");
	*(void **)&count = dlsym(e->nvml, "nvmlDeviceGetCount_v2");
	*(void **)&handle = dlsym(e->nvml, "nvmlDeviceGetHandleByIndex_v2");
	*(void **)&e->read_card = dlsym(e->nvml,
	    "nvmlDeviceGetTotalEnergyConsumption");
	if (init == NULL || count == NULL || handle == NULL ||
	    e->read_card == NULL || init() != 0 || count(&n) != 0)
		return;
	for (i = 0; i < n && e->cards < SQ_ENERGY_MAX; i++)
		if (handle(i, &e->card[e->cards]) == 0 &&
		    e->read_card(e->card[e->cards], &mj) == 0)
			e->last_card[e->cards++] = 1e-3 * (double)mj;
}

void
sq_energy_open(struct sq_energy *e, const char *root)
{
	memset(e, 0, sizeof(*e));
	e->root = root == NULL ? "/sys/class/powercap" : root;
	while (e->packages < SQ_ENERGY_MAX && package(e, e->packages,
	    "energy_uj", &e->last[e->packages]) == 0) {
		if (package(e, e->packages, "max_energy_range_uj",
		    &e->range[e->packages]) < 0)
			e->range[e->packages] = 0;
		e->packages++;
	}
	open_cards(e);
}

double
sq_energy_read(struct sq_energy *e)
{
	unsigned long long mj;
	size_t i;
	double v;

	for (i = 0; i < e->packages; i++) {
		if (package(e, i, "energy_uj", &v) < 0)
			continue;
		e->joules += 1e-6 * (v - e->last[i] + (v < e->last[i] ?
		    e->range[i] : 0));
		e->last[i] = v;
	}
	for (i = 0; i < e->cards; i++) {
		if (e->read_card(e->card[i], &mj) != 0)
			continue;
		e->joules += 1e-3 * (double)mj - e->last_card[i];
		e->last_card[i] = 1e-3 * (double)mj;
	}
	return e->packages + e->cards == 0 ? NAN : e->joules;
}

const char *
sq_energy_method(const struct sq_energy *e)
{
	return e->packages > 0 && e->cards > 0 ? "rapl+nvml" :
	    e->packages > 0 ? "rapl" : e->cards > 0 ? "nvml" :
	    "not available";
}

void
sq_energy_close(struct sq_energy *e)
{
	if (e->nvml != NULL)
		dlclose(e->nvml);
	memset(e, 0, sizeof(*e));
}
