/*
 * Output that appears whole or not at all.  A file is written without a name
 * (O_TMPFILE) where the file system can do that, else as OUT.part; a directory
 * is written as OUT.part.  Only a commit gives it its name, in one step, and an
 * earlier output under that name is there until then.
 */
#ifndef SQ_BASE_OUTFILE_H
#define SQ_BASE_OUTFILE_H

#include <stddef.h>

#include "base/err.h"

struct sq_outfile {
	int fd;			/* write here; for a directory, openat() */
	int named;		/* OUT.part exists */
	int is_dir;
	char *path, *part;	/* OUT, OUT.part */
	char err[SQ_ERR];
};

/* 0, or -1 with the reason in o->err; o is released by either close below. */
int	 sq_outfile_open(struct sq_outfile *o, const char *path);

/*
 * The same; an earlier directory is replaced only when it is empty, or has
 * plain files alone and one called `mark': nobody loses another directory.  Of
 * an OUT.part that an earlier run has left, the files called *.tmp stay, so
 * that who writes them again can look whether they are right already; a commit
 * removes those that still have such a name.
 */
int	 sq_outdir_open(struct sq_outfile *o, const char *path,
	    const char *mark);

/* Brings the data to the disk and the name into place, and closes o. */
int	 sq_outfile_commit(struct sq_outfile *o);

/* Gives up: what was written goes away, and o is closed.  Harmless on an o that
 * was committed, or failed to open. */
void	 sq_outfile_abort(struct sq_outfile *o);

/* Gives up, but OUT.part, a directory, stays for the next run. */
void	 sq_outfile_leave(struct sq_outfile *o);

/* All of a file at once: 0, or -1 with the reason. */
int	 sq_outfile_put(const char *path, const void *data, size_t len,
	    char *err);

#endif
