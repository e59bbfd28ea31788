/*
 * How a student is to be taught: a preset, and what a YAML file says beside it.
 *
 *	preset: layer		# response, layer or self; of codes: self
 *	text: calib.txt		# where the stream has no TOKENS
 *	samples: 64
 *	length: 1024
 *	steps: 200
 *	batch: 4		# samples of a step
 *	lr: 1e-4
 *	warmup: 10
 *	weight_decay: 0
 *	temperature: 1
 *	ce: 0			# weight of the text itself
 *	hidden: 1		# weight of the hidden states; of codes: 30
 *	layers: {0: 1, 1: 3}	# of the student: of the teacher
 *	checkpoint: 50		# steps between two
 *	train: codes		# or dense
 *	place: 1.5e-3		# rates: of a code's place,
 *	scale: 1e-3		# of the logarithm of a scale
 *	norm: 3e-4		# of norms and biases; 0: they stay
 *	own: 400		# samples, all of the teacher's own text,
 *	own_length: 512		# of so many tokens
 *	redraw: 0.3		# of the tokens, the teacher's own
 */
#ifndef SQ_DISTILL_CONFIG_H
#define SQ_DISTILL_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SQ_DISTILL_LAYERS	4096
#define SQ_DISTILL_OPEN		UINT64_MAX

enum sq_distill_preset {
	SQ_PRESET_OPEN = -1,	/* self for codes, response for the rest */
	SQ_RESPONSE,		/* the teacher's probabilities */
	SQ_LAYER,		/* and its hidden states, mapped evenly */
	SQ_SELF			/* and its hidden states, one to one: the
				   teacher is what the student was */
};

enum sq_distill_train {
	SQ_TRAIN_DENSE,			/* dense weights, biases, norms */
	SQ_TRAIN_CODES			/* integers and their scales */
};

struct sq_distill_config {
	enum sq_distill_preset preset;
	enum sq_distill_train train;
	char *text;			/* or NULL */
	uint64_t samples, length, steps, warmup, checkpoint;
	uint64_t batch;			/* OPEN: as there is own text */
	uint64_t own;			/* samples that the teacher writes, to
					   be learned from instead of the text;
					   OPEN: as `train' has it, then each
					   is learned from twice */
	uint64_t own_length;		/* their tokens, at most */
	double lr, weight_decay, temperature, ce;
	double hidden;			/* negative: as `train' has it */
	double place, scale, norm;	/* rates of codes, of ln scales, of
					   norms and biases beside them */
	double redraw;			/* tokens that the teacher replaces;
					   negative: as `train' has it */
	size_t nlayers;			/* of the map; 0: by the preset */
	struct sq_distill_pair { uint64_t student, teacher; } *layer;
};

/* The defaults; last, what is still open, by what is trained. */
void	 sq_distill_defaults(struct sq_distill_config *);
void	 sq_distill_settle(struct sq_distill_config *);

/* The same with what the text says: -1 with "LINE: why". */
int	 sq_distill_parse(struct sq_distill_config *, const char *text,
	    size_t len, char *err);
void	 sq_distill_config_release(struct sq_distill_config *);

/* -1 when there is no preset of that name; their names, NULL at the end. */
int	 sq_distill_preset(const char *name);
const char *const *sq_distill_presets(void);
const char *const *sq_distill_trains(void);

#endif
