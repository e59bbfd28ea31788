/* A model as it writes; see writer.h. */
#include <stdlib.h>
#include <string.h>

#include "distill/writer.h"
#include "model/backward.h"

/* A dense weight as int8, in memory of the writer's own. */
static int
to_int8(struct sq_writer *w, struct sq_ctx *ctx, struct sq_linear *l,
    char *err)
{
	const struct sq_weight *from = &l->w;
	size_t n = from->rows * from->cols;
	const struct sq_qrule rule = { SQ_INT8, SQ_ABSMAX, 1, 1, from->cols };
	const struct sq_mat m = { (void *)(uintptr_t)from->data, from->type,
	    from->rows, from->cols, from->cols };
	struct sq_qdst to = { NULL, NULL, NULL, NULL };

	if (from->data == NULL || from->grid != SQ_DENSE)
		return 0;
	to.codes = malloc(n + from->rows * sizeof(*to.scales) + 1);
	if (to.codes == NULL)
		return sq_fail(err, "out of memory");
	w->mem[w->n++] = to.codes;
	to.scales = (uint16_t *)(void *)(to.codes + n + n % 2);
	if (sq_quantize(ctx, &m, &rule, &to) != 0)
		return sq_no_kernel(err, SQ_OP_quantize);
	l->w = (struct sq_weight){ .grid = SQ_INT8, .rows = m.rows,
	    .cols = m.cols, .data = to.codes, .group_rows = 1,
	    .group_cols = m.cols, .scale_type = SQ_F16,
	    .scales = to.scales };
	l->act = (struct sq_act){ .kind = SQ_ACT_INT8 };
	return 0;
}

int
sq_writer_init(struct sq_writer *w, const struct sq_model *m,
    struct sq_ctx *ctx, char *err)
{
	size_t layers = (size_t)m->config.layers, i;
	int k;

	memset(w, 0, sizeof(*w));
	w->model = *m;
	w->layer = malloc(layers * sizeof(*w->layer));
	w->mem = malloc(layers * SQ_LINEARS * sizeof(*w->mem));
	if (w->layer == NULL || w->mem == NULL)
		return sq_fail(err, "out of memory");
	memcpy(w->layer, m->layer, layers * sizeof(*w->layer));
	w->model.layer = w->layer;
	for (i = 0; i < layers; i++)
		for (k = 0; k < SQ_LINEARS; k++)
			if (to_int8(w, ctx, sq_layer_linear(&w->layer[i], k),
			    err) < 0)
				return -1;
	return 0;
}

void
sq_writer_release(struct sq_writer *w)
{
	while (w->n > 0)
		free(w->mem[--w->n]);
	free(w->mem);
	free(w->layer);
	memset(w, 0, sizeof(*w));
}
