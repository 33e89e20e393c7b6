# make            program drt, libdrt.a and libdrt.so in build/
# make deps       installs the Debian packages that are missing
# make test       builds and runs every test; the last line is "N passed, N failed"
# make test ISA=v3    the same as on a machine without AVX-512; ISA=base: without AVX, too
# make asan       the same tests under AddressSanitizer and UBSan
# make demo       shapes, two models, two stages, report in out/demo/
# make fuzz       every parser fuzzed for SECONDS (60) under ASan and UBSan; needs clang; findings in build-fuzz/
# make parity     golden files made anew by transformers (PYTHON), drt and the committed ones against them
# make bench      one JSON line per kernel and model step; the largest model takes 15 GB of memory
# make tiny-models   trains models/ anew (hours); they are committed
# make install PREFIX=/usr/local
# Variables: CC, BUILD (folder, default build), PREFIX, DESTDIR, T (test name filter), ISA, PYTHON (default python3)

BUILD  ?= build
PREFIX ?= /usr/local
VERSION := 0.1.0
PKGS   := dnnl libjpeg libpng libwebp jansson yaml-0.1 libpcre2-8 libutf8proc zlib libarchive sqlite3
# oneDNN ships no pkg-config file in Debian 12.
PC     := $(filter-out dnnl,$(PKGS))

CFLAGS  ?= -O3 -g
# Hidden: libdrt.so exports what include/drt.h declares and nothing else.
# Contraction of a*b+c is off so that every compiler and every fused variant rounds alike; kernels/cpu turns it on.
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -fopenmp -fPIC -fno-math-errno -ffp-contract=off \
             -fvisibility=hidden -Isrc -Iinclude -DDRT_VERSION='"$(VERSION)"' $(CFLAGS) $(SAN) $(shell pkg-config --cflags $(PC) 2>/dev/null)
LIBS    = $(shell pkg-config --libs $(PC) 2>/dev/null) -ldnnl -lm -lpthread -fopenmp $(SAN)

# kernels/cpu is compiled once per instruction set and chosen at run time: one binary, every machine.
ARCH := $(shell uname -m)
ifeq ($(ARCH),x86_64)
ISAS := v4 v3 base
ISA_v4 := -march=x86-64-v4 -mprefer-vector-width=512
ISA_v3 := -march=x86-64-v3
else
ISAS := base
endif
ISA_base :=

SRC     := $(filter-out src/cli/% src/kernels/cpu/isa/%,$(wildcard src/*/*.c src/*/*/*.c))
ISA_SRC := $(wildcard src/kernels/cpu/isa/*.c)
CLI_SRC := $(wildcard src/cli/*.c)
OBJ     := $(SRC:%.c=$(BUILD)/%.o) $(foreach i,$(ISAS),$(ISA_SRC:src/kernels/cpu/isa/%.c=$(BUILD)/src/kernels/cpu/isa/%.$(i).o))
CLI_OBJ := $(CLI_SRC:%.c=$(BUILD)/%.o)
TESTS   := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/*/*_test.c))
SUPPORT := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/support/*.c))

.SECONDARY:
.PHONY: all deps test asan fuzz parity demo bench bench-built tiny-models install clean check
all: $(BUILD)/drt $(BUILD)/libdrt.so

deps:
	@tools/deps.sh

$(BUILD)/libdrt.a: $(OBJ)
	@rm -f $@
	@ar rcs $@ $^
$(BUILD)/libdrt.so: $(OBJ) src/api/libdrt.map
	@$(CC) -shared -Wl,-soname,libdrt.so.0,--version-script,src/api/libdrt.map -o $@ $(OBJ) $(LIBS)
$(BUILD)/drt: $(CLI_OBJ) $(BUILD)/libdrt.a
	@$(CC) -o $@ $^ $(LIBS)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@echo "cc $<"
	@$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<
# The run history names the commit. The file changes when the commit does, and so is what depends on it built anew.
$(BUILD)/commit: always
	@mkdir -p $(@D)
	@git describe --always --dirty --exclude '*' 2>/dev/null >$@.new; cmp -s $@.new $@ || cp $@.new $@; rm $@.new
$(BUILD)/src/train/history.o: $(BUILD)/commit
$(BUILD)/src/train/history.o: ALL_CFLAGS += -DDRT_COMMIT='"$(shell cat $(BUILD)/commit 2>/dev/null)"'
.PHONY: always
define isa_rule
$(BUILD)/src/kernels/cpu/isa/%.$(1).o: src/kernels/cpu/isa/%.c
	@mkdir -p $$(@D)
	@echo "cc $$< ($(1))"
	@$$(CC) $$(ALL_CFLAGS) $$(ISA_$(1)) -ffp-contract=fast -DDRT_ISA=$(1) -MMD -MP -c -o $$@ $$<
endef
$(foreach i,$(ISAS),$(eval $(call isa_rule,$(i))))

$(BUILD)/tests/%_test: tests/%_test.c $(SUPPORT) $(BUILD)/libdrt.a
	@mkdir -p $(@D)
	@echo "cc $<"
	@$(CC) $(ALL_CFLAGS) -Itests -MMD -MP -o $@ $< $(SUPPORT) $(BUILD)/libdrt.a -lcmocka $(LIBS)
$(BUILD)/tests/support/%.o: ALL_CFLAGS += -Itests
$(BUILD)/tests/faults/faults_test: $(BUILD)/tests/faults/inject.so
$(BUILD)/tests/faults/inject.so: tests/faults/inject.c
	@mkdir -p $(@D)
	@$(CC) -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -O1 -g -fPIC -shared -o $@ $< -ldl -lpthread

# T builds only what it runs.
tests-built: all $(if $(T),$(foreach t,$(TESTS),$(if $(findstring $(T),$(t)),$(t))),$(TESTS))
.PHONY: tests-built fuzz-built
ONEDNN_v3   := AVX2
ONEDNN_base := SSE41
AS = $(if $(ISA),DRT_ISA=$(ISA) ONEDNN_MAX_CPU_ISA=$(or $(ONEDNN_$(ISA)),$(error ISA=$(ISA): it can be v3 or base)))
test: deps
	@$(MAKE) --no-print-directory -j$$(nproc) tests-built
	@$(AS) BUILD=$(BUILD) tools/run_tests.sh $(T)
asan: deps
	@$(MAKE) --no-print-directory -j$$(nproc) BUILD=build-asan CFLAGS="-O1 -g" \
	  SAN="-fsanitize=address,undefined -fno-sanitize-recover=undefined" tests-built
	@BUILD=build-asan tools/run_tests.sh $(T)
# Targets are one file each, named after what they read; the parsers need no room above data. New inputs that reach
# further are added to build-fuzz/NAME; tests/fuzz/corpus/NAME is where they begin, and what tests/fuzz/corpus_test.c runs.
SECONDS ?= 60
FUZZ := $(patsubst tests/fuzz/%_fuzz.c,%,$(wildcard tests/fuzz/*_fuzz.c))
$(BUILD)/%_fuzz: $(BUILD)/tests/fuzz/%_fuzz.o $(filter $(BUILD)/src/base/% $(BUILD)/src/format/% $(BUILD)/src/data/%,$(OBJ))
	@$(CC) -o $@ $^ $(LIBS) -fsanitize=fuzzer
fuzz-built: $(FUZZ:%=$(BUILD)/%_fuzz)
fuzz: deps
	@$(MAKE) --no-print-directory -j$$(nproc) BUILD=build-fuzz CC=clang CFLAGS="-O1 -g" \
	  SAN="-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined" fuzz-built
	@tools/fuzz.sh $(SECONDS) $(or $(T),$(FUZZ))
PYTHON ?= python3
parity:
	@$(MAKE) --no-print-directory -j$$(nproc) tests-built
	@BUILD=$(BUILD) OMP_NUM_THREADS=1 $(PYTHON) tools/parity.py
BENCH := $(patsubst bench/%.c,$(BUILD)/bench/%,$(wildcard bench/*.c))
BENCH_COMMON := $(patsubst %.c,$(BUILD)/%.o,$(wildcard bench/common/*.c))
$(BENCH_COMMON): ALL_CFLAGS += -Ibench
$(BUILD)/bench/%: bench/%.c $(BENCH_COMMON) $(BUILD)/libdrt.a
	@mkdir -p $(@D)
	@echo "cc $<"
	@$(CC) $(ALL_CFLAGS) -Ibench -MMD -MP -o $@ $< $(BENCH_COMMON) $(BUILD)/libdrt.a $(LIBS)
bench-built: $(BENCH)
bench: bench-built
	@for b in $(BENCH); do $$b || exit 1; done

demo: deps
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@$(BUILD)/drt demo --out out/demo
tiny-models: deps
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@DRT=$(BUILD)/drt tools/tiny_models.sh

ROOT = $(DESTDIR)$(PREFIX)
install: all
	@install -d $(ROOT)/bin $(ROOT)/lib/pkgconfig $(ROOT)/include
	@install -m 755 $(BUILD)/drt $(ROOT)/bin/drt
	@install -m 644 include/drt.h $(ROOT)/include/drt.h
	@install -m 644 $(BUILD)/libdrt.a $(ROOT)/lib/libdrt.a
	@install -m 755 $(BUILD)/libdrt.so $(ROOT)/lib/libdrt.so.$(VERSION)
	@ln -sf libdrt.so.$(VERSION) $(ROOT)/lib/libdrt.so.0
	@ln -sf libdrt.so.0 $(ROOT)/lib/libdrt.so
	@sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' -e 's|@PACKAGES@|$(filter-out libarchive,$(PC))|' drt.pc.in \
	  >$(ROOT)/lib/pkgconfig/drt.pc
check:
	@python3 tools/check_structure.py
clean:
	@rm -rf build build-asan build-fuzz

-include $(wildcard $(BUILD)/src/*/*.d $(BUILD)/src/*/*/*.d $(BUILD)/src/*/*/*/*.d $(BUILD)/tests/*/*.d $(BUILD)/bench/*.d $(BUILD)/bench/*/*.d)
