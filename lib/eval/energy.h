/* The energy that this machine takes, where it can be read. */
#ifndef SQ_EVAL_ENERGY_H
#define SQ_EVAL_ENERGY_H

/* Joules since some moment (RAPL: all packages), or NAN where the system does
 * not tell.  The counters wrap after minutes: read often. */
double	 sq_energy(void);

#endif
