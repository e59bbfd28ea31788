# sq: the only makefile.  `make help' lists what it does.

VERSION = 0.1.0
PREFIX = /usr/local
CC = gcc
CLANG = clang
CFLAGS = -O2 -g
LDFLAGS =
WERROR =
B = build

BINDIR = $(DESTDIR)$(PREFIX)/bin
LIBDIR = $(DESTDIR)$(PREFIX)/lib
INCDIR = $(DESTDIR)$(PREFIX)/include/sq
MANDIR = $(DESTDIR)$(PREFIX)/share/man

SHELL = /bin/bash
.SHELLFLAGS = -eo pipefail -c
.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules

LIBS = -larchive -lzstd -lxxhash -ljansson -lyaml -lcsv -lpcre2-8 \
	-lunistring -lcrypto -lm -lpthread
KERNEL_CFLAGS = $(CFLAGS)
FINAL_CFLAGS = -std=gnu11 -D_GNU_SOURCE -Wall -Wextra $(WERROR) \
	-ffp-contract=off -fPIC -fvisibility=default -I. -Ilib \
	$(if $(filter kernels/%,$*),$(KERNEL_CFLAGS),$(CFLAGS))

# A file's suffix gives it its instructions; nothing is probed here, kernels
# are chosen when a program runs.
X86_avx2 = -mavx2 -mfma -mf16c
X86_avx512 = $(X86_avx2) -mavx512f -mavx512bw -mavx512dq -mavx512vl
X86_avx512vnni = $(X86_avx512) -mavx512vnni -mavx512vbmi
X86_avx512bf16 = $(X86_avx512vnni) -mavx512bf16
X86_amx = $(X86_avx512bf16) -mamx-tile -mamx-bf16 -mamx-int8
isa = $(foreach l,avx2 avx512 avx512vnni avx512bf16 amx,$(if \
	$(filter %_$(l),$(basename $(1))),$(X86_$(l))))

# For bin/ alone: they print and exit.
TOOL_SRC = lib/base/tool.c lib/quant/stage.c lib/quant/smooth_stage.c \
	lib/quant/learn_stage.c
LIB_SRC = $(filter-out $(TOOL_SRC),$(wildcard lib/*/*.c)) \
	$(wildcard formats/*.c kernels/*.c kernels/ref/*.c kernels/x86/*.c)

# The plug-in for NVIDIA cards: left out where there is no nvcc.
NVCC = $(firstword $(shell command -v nvcc /usr/local/cuda/bin/nvcc 2>/dev/null))
CUDA_HOME = $(patsubst %/bin/nvcc,%,$(realpath $(NVCC)))
CUDA_ARCH = 90a
CUDA_OBJ = $(patsubst %.c,$(B)/obj/%.o,$(wildcard kernels/cuda/*.c)) \
	$(patsubst %.cu,$(B)/obj/%.cu.o,$(wildcard kernels/cuda/*.cu))

HEADERS = $(wildcard lib/*/*.h formats/*.h kernels/kern.h kernels/decoder.h \
	kernels/kvpage.h kernels/quant.h kernels/sparse.h kernels/ops.def)
TOOLS = $(patsubst bin/%.c,%,$(wildcard bin/*.c))
SCRIPTS = $(filter-out %.c,$(wildcard bin/*))
MAN = $(wildcard man/*.[157])
UNIT = $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/t_*.c))
FUZZ = $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))

PROFILES = $(wildcard pipelines/profiles/*.yaml)
ENGINES = $(wildcard pipelines/engines/*.yaml)
TABLE_profiles = sq_presets
TABLE_engines = sq_engines
TOOL_OBJ = $(TOOL_SRC:%.c=$(B)/obj/%.o)
LIB_OBJ = $(LIB_SRC:%.c=$(B)/obj/%.o) $(B)/obj/gen/profiles.o \
	$(B)/obj/gen/engines.o
CHECK_OBJ = $(patsubst %.c,$(B)/obj/%.o,$(wildcard tests/kernels/*.c))
TEST_PROGS = $(UNIT:%=$(B)/tests/%) $(B)/tests/checkkern \
	$(B)/tests/mini_stream

.PHONY: all cuda no-cuda help deps demo check test test-progs asan fuzz report \
	results bench install uninstall clean

all: $(TOOLS:%=$(B)/bin/%) $(SCRIPTS:bin/%=$(B)/bin/%) \
	$(B)/lib/libsq.a $(B)/lib/libsq.so.$(VERSION)

help:
	@echo 'make            build everything into build/'
	@echo 'make demo       install what is missing, build, show the main job'
	@echo 'make check      install what is missing, build, run all tests'
	@echo 'make asan       the same tests with address and undefined-behaviour checks'
	@echo 'make fuzz       fuzz each reader for FUZZ_SECONDS (60)'
	@echo 'make report     compare the small model with its variants: build/report.html'
	@echo 'make results    measure this machine: pipelines/results, RESULTS.md'
	@echo 'make bench      measure speed and memory: a table and build/bench.csv'
	@echo 'make install    PREFIX=$(PREFIX) DESTDIR=$(DESTDIR)'
	@echo 'make cuda       the plug-in for NVIDIA cards: build/lib/libsqk_cuda.so'
	@echo 'make deps       install (root) or name the packages that are missing'

# Objects depend on the headers that they included and on this makefile.
$(B)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(FINAL_CFLAGS) $(call isa,$*) -MMD -MP -c -o $@ $<

# Tables are compiled in: NAME.yaml becomes an entry of that name.
$(B)/gen/profiles.c: $(PROFILES)
$(B)/gen/engines.c: $(ENGINES)
$(B)/gen/%.c: pipelines/presets.awk Makefile
	@mkdir -p $(@D)
	awk -v table=$(TABLE_$*) -f $< $(filter %.yaml,$^) >$@

$(B)/obj/gen/%.o: $(B)/gen/%.c
	@mkdir -p $(@D)
	$(CC) $(FINAL_CFLAGS) -MMD -MP -c -o $@ $<

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)

$(B)/lib/libsq.a: $(LIB_OBJ)
$(B)/lib/libtool.a: $(TOOL_OBJ)
$(B)/lib/libsq.a $(B)/lib/libtool.a:
	@mkdir -p $(@D)
	rm -f $@
	ar rcs $@ $^

$(B)/lib/libsq.so.$(VERSION): $(LIB_OBJ)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -shared -Wl,-soname,libsq.so.0 -o $@ $^ $(LDFLAGS) $(LIBS)

$(B)/bin/%: $(B)/obj/bin/%.o $(B)/lib/libtool.a $(B)/lib/libsq.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $^ $(LDFLAGS) $(LIBS)

$(B)/bin/%: bin/%
	@mkdir -p $(@D)
	install -m 755 $< $@

$(B)/tests/t_%: $(B)/obj/tests/unit/t_%.o $(B)/lib/libsq.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $^ $(LDFLAGS) -lcheck -lsubunit -lrt $(LIBS)

$(B)/tests/checkkern: $(CHECK_OBJ) $(B)/lib/libsq.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $^ $(LDFLAGS) $(LIBS)

$(B)/tests/%: $(B)/obj/tests/formats/%.o $(B)/lib/libsq.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $^ $(LDFLAGS) $(LIBS)

# Linked with everything, so that it can lean on the library's writers.  The
# kernels read no files, and take minutes to instrument.
$(B)/fuzz/%: tests/fuzz/%.c $(B)/fuzzobj/lib/libsq.a
	@mkdir -p $(@D)
	$(CLANG) -std=gnu11 -D_GNU_SOURCE -O1 -g -I. -Ilib \
	    -fsanitize=fuzzer,address,undefined -o $@ $< \
	    $(B)/fuzzobj/lib/libsq.a $(LIBS)

$(B)/fuzzobj/lib/libsq.a: $(LIB_SRC) $(HEADERS) $(PROFILES) $(ENGINES)
	$(MAKE) B=$(B)/fuzzobj CC=$(CLANG) KERNEL_CFLAGS='-O1 -g' \
	    CFLAGS='-O1 -g -fsanitize=fuzzer-no-link,address,undefined' $@

cuda: $(if $(NVCC),$(B)/lib/libsqk_cuda.so,no-cuda)

no-cuda:
	@echo 'cuda: left out: there is no nvcc here'

# nvcc drives the linker, so that it finds its own libraries.
$(B)/lib/libsqk_cuda.so: $(CUDA_OBJ) $(B)/obj/lib/base/grid.o \
    $(B)/obj/lib/base/dtype.o $(B)/obj/lib/base/half.o
	@mkdir -p $(@D)
	$(NVCC) -shared -cudart shared -o $@ $^ \
	    -Xlinker -rpath=$(CUDA_HOME)/lib64 -lcublas -lcublasLt -ldl

$(B)/obj/kernels/cuda/%.o: FINAL_CFLAGS += -isystem $(CUDA_HOME)/include \
    -fvisibility=hidden

# What is to give the host's bits.
NVCC_round = -fmad=false
NVCC_hessian = -fmad=false

$(B)/obj/%.cu.o: %.cu $(wildcard kernels/cuda/*.h kernels/*.h) \
    lib/base/grid.h kernels/ops.def Makefile
	@mkdir -p $(@D)
	$(NVCC) -std=c++17 -O3 -lineinfo $(NVCC_$(basename $(notdir $*))) \
	    -gencode=arch=compute_$(CUDA_ARCH),code=sm_$(CUDA_ARCH) \
	    -Xcompiler -fPIC,-fvisibility=hidden,-Wall -I. -Ilib -c -o $@ $<

deps:
	@tests/deps

# What people type first takes all processors, unless -j is given.
jobs = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))

demo: deps
	@$(MAKE) --no-print-directory $(jobs) all
	@pipelines/demo

check: deps
	@$(MAKE) --no-print-directory $(jobs) test

test: all test-progs
	@tests/run $(B)

test-progs: $(TEST_PROGS)

asan:
	$(MAKE) B=build/asan test \
	    CFLAGS='-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer'

FUZZ_SECONDS = 60
fuzz: $(FUZZ:%=$(B)/fuzz/%)
	@tests/fuzz/run $(B) $(FUZZ_SECONDS)

# The small model and its compressed variants, measured and shown.
report: all
	@$(MAKE) --no-print-directory -f pipelines/compare.mk \
	    PATH="$(CURDIR)/$(B)/bin:$$PATH" MODEL=tests/data/sq-ref-7m \
	    CALIB=tests/data/text/calib.txt TEXT=tests/data/text/eval.txt \
	    OUT=$(B)/report RUNS=2 GENERATE=16 HTML=$(B)/report.html CSV=$(B)/report.csv \
	    SAMPLES=16 LENGTH=1024 TOKENS=8192 \
	    TASKS=needle=tests/data/text/eval.txt \
	    TASK_OPTIONS='--lengths 128:512 --depths 3 --each 2'

results: all
	@$(MAKE) --no-print-directory -f pipelines/results.mk \
	    PATH="$(CURDIR)/$(B)/bin:$$PATH"

bench: all
	@pipelines/bench $(B)

install: all
	install -d $(BINDIR) $(LIBDIR)/pkgconfig $(INCDIR)/base \
	    $(INCDIR)/formats $(INCDIR)/kernels $(INCDIR)/model \
	    $(MANDIR)/man1 $(MANDIR)/man5 $(MANDIR)/man7
	install -m 755 $(TOOLS:%=$(B)/bin/%) $(SCRIPTS:bin/%=$(B)/bin/%) $(BINDIR)
	install -m 644 $(B)/lib/libsq.a $(LIBDIR)
	install -m 755 $(B)/lib/libsq.so.$(VERSION) $(LIBDIR)
	ln -sf libsq.so.$(VERSION) $(LIBDIR)/libsq.so.0
	ln -sf libsq.so.0 $(LIBDIR)/libsq.so
	for h in $(HEADERS); do d=$${h#lib/}; \
	    install -D -m 644 $$h $(INCDIR)/$$d; done
	for m in $(MAN); do install -m 644 $$m $(MANDIR)/man$${m##*.}; done
	printf '%s\n' 'prefix=$(PREFIX)' 'Name: sq' \
	    'Description: quantize, evaluate and run language models' \
	    'Version: $(VERSION)' 'Cflags: -I$${prefix}/include/sq' \
	    'Libs: -L$${prefix}/lib -lsq' 'Libs.private: $(LIBS)' \
	    > $(LIBDIR)/pkgconfig/sq.pc

uninstall:
	rm -f $(TOOLS:%=$(BINDIR)/%) $(SCRIPTS:bin/%=$(BINDIR)/%) \
	    $(LIBDIR)/libsq.* $(LIBDIR)/pkgconfig/sq.pc
	for m in $(MAN); do rm -f $(MANDIR)/man$${m##*.}/$${m#man/}; done
	rm -rf $(INCDIR)

clean:
	rm -rf build
