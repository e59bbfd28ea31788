/*
 * The energy that this machine takes, where it can be read: RAPL of the
 * processors' packages (Linux's powercap), and NVML of NVIDIA's cards, which is
 * loaded when it is there.
 */
#ifndef SQ_EVAL_ENERGY_H
#define SQ_EVAL_ENERGY_H

#include <stddef.h>

#define SQ_ENERGY_MAX	16		/* packages, and cards */

struct sq_energy {
	const char *root;		/* of powercap */
	size_t packages, cards;
	double joules;			/* so far */
	double range[SQ_ENERGY_MAX];	/* where a counter wraps */
	double last[SQ_ENERGY_MAX], last_card[SQ_ENERGY_MAX];
	void *nvml, *card[SQ_ENERGY_MAX];
	int (*read_card)(void *card, unsigned long long *millijoules);
};

/* root: where powercap is; NULL: /sys/class/powercap. */
void	 sq_energy_open(struct sq_energy *, const char *root);

/* Joules since sq_energy_open(), or NAN where nothing tells.  RAPL's counters
 * wrap after minutes: read as often. */
double	 sq_energy_read(struct sq_energy *);

/* "rapl", "nvml", "rapl+nvml" or "not available". */
const char *sq_energy_method(const struct sq_energy *);
void	 sq_energy_close(struct sq_energy *);

#endif
