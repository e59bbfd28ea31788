/*
 * Quantized activations of a model: what its weights ask for (sq-stream(5),
 * TENSOR, activation), and what a user asks for instead.
 */
#ifndef SQ_MODEL_ACT_H
#define SQ_MODEL_ACT_H

#include "model/model.h"

/*
 * The input of every linear layer of the blocks is quantized so, whatever the
 * weights ask for.  is_static: with the scales that they carry; -1 where one
 * carries none for this type.  SQ_ACT_NONE: no input is quantized.
 */
int	 sq_model_set_act(struct sq_model *, enum sq_act_kind, int is_static,
	    char *err);

/* The option --act of a tool that runs models: "none", "int8", "fp8:static"
 * and so on; unchanged for NULL. */
struct sq_act_choice {
	int given, is_static;
	enum sq_act_kind kind;
};

/* -1 when it is none of them. */
int	 sq_act_choose(struct sq_act_choice *, const char *text);
int	 sq_model_choose_act(struct sq_model *, const struct sq_act_choice *,
	    char *err);

#endif
