/*
 * How fast a device's decoder generates: the work of one user, of a step with
 * many sequences, and of a queue of requests.
 */
#ifndef SQ_EVAL_BENCH_DECODER_H
#define SQ_EVAL_BENCH_DECODER_H

#include "kernels/decoder.h"
#include "model/model.h"

/*
 * One measurement: `requests' prompts of `in' tokens, of which each makes `out'.
 * With decode_only, the prompts' time is left out.  Where `own' is not 0, only
 * so many tokens of a prompt are its own: the others are those of a request
 * before, whose cache is used, and requests come one after the other.
 */
struct sq_dec_load {
	const char *name;
	size_t requests, in, out;
	int decode_only;
	size_t own;
};

/* The loads that are known by name, ended by a NULL name. */
extern const struct sq_dec_load sq_dec_loads[];

struct sq_dec_result {
	double ttft, tpot;		/* seconds, of one request alone */
	double spread;			/* of tpot: (most - least) / median; of
					   requests with a prefix, without the
					   5 % at either end */
	double failed;			/* requests; NaN: they end the run */
	double out_rate;		/* tokens made a second, of many */
	double joule;			/* for a token made; NaN: unknown */
	size_t at_once;			/* sequences in the cache, at most */
	double bytes;			/* of the device, cache in use and all */
};

struct sq_bench_decoder {
	const struct sq_decoder_ops *ops;
	struct sq_decoder *d;
	struct sq_dec_shape shape;
	/* slot i draws so, with seed + i */
	struct sq_dec_sampling how;
	size_t pages, left;		/* of the cache: at first, at least */
};

/*
 * A greedy decoder with a model's weights, or, when model is NULL, with random
 * ones in the shape.  What the shape leaves 0 is filled in: from the model, and
 * pages with what memory is left.  -1 with the reason in err.
 */
int	 sq_bench_decoder_open(struct sq_bench_decoder *, const char *level,
	    const struct sq_model *, const struct sq_dec_shape *, char *err);
void	 sq_bench_decoder_close(struct sq_bench_decoder *);

/* The median of `times' runs for one request alone, one run of many. */
int	 sq_bench_decoder_run(struct sq_bench_decoder *,
	    const struct sq_dec_load *, int times, struct sq_dec_result *,
	    char *err);

/* What the decoder makes of a prompt: n tokens. */
int	 sq_bench_decoder_make(struct sq_bench_decoder *,
	    const uint32_t *prompt, size_t len, uint32_t *ids, size_t n,
	    char *err);

#endif
