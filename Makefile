# SPDX-License-Identifier: MIT
# Every target calls one tool. `make run` shows the product, `make test` runs every check.

PREFIX ?= /usr/local
# What the packages are built with: docs/tracing.md.
FEATURES = --features l7switch/otlp
FUZZ_SECONDS ?= 8
CACHE = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/l7switch
DENY = $(CACHE)/tools/bin/cargo-deny
RIG = cargo run --quiet --locked --package l7switch-qemu-tests --
BENCH = cargo run --quiet --locked --package l7switch-bench --

.PHONY: run test build deb needs style format lint doc deny no-panic module check-module unit test-debug-kernel test-servers test-grpc test-upgrade \
	test-packages test-page test-api test-monitoring test-tracing test-crossing test-programs soak test-mutations segments bench-rules bench-gate bench bench-full bench-host bench-locks \
	bench-memory profile fuzz install

run:
	@.ci/install run
	cargo run --quiet --profile demo --locked --package l7switch -- --demo

test: needs style format lint doc deny no-panic check-module unit bench-rules bench-gate fuzz
	@echo "all checks passed"

build:
	cargo build --release --locked $(FEATURES) --package l7switch --package l7ctl

# The Debian packages, in target/deb: docs/install.md.
deb:
	@.ci/install deb
	cargo build --release --locked $(FEATURES) --package l7switch --package l7ctl
	@.ci/deb

needs:
	@.ci/install test

style: needs
	.ci/style
	.ci/check-apt

format: needs
	cargo fmt --all --check
	cargo fmt --check --manifest-path kmod/engine/fuzz/Cargo.toml
	cargo fmt --check --manifest-path rules/fuzz/Cargo.toml
	cargo fmt --check --manifest-path l7switch/certificates/fuzz/Cargo.toml
	cargo fmt --check --manifest-path kmod/netlink/client/fuzz/Cargo.toml

lint: needs
	cargo clippy --locked --workspace $(FEATURES) --all-targets -- -D warnings
	cargo clippy --locked --package l7switch -- -D warnings

doc: needs
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --locked --workspace $(FEATURES) --no-deps --document-private-items

deny: needs
	$(DENY) --locked --log-level error check bans licenses sources

no-panic: needs
	kmod/engine/no-panic.sh

# Prints where l7switch.ko is, built for the newest stock kernel of Debian's archive.
module:
	@.ci/install module
	@kmod/build/module

check-module: needs
	kmod/build/check

# All tests in a booted kernel with KASAN, lockdep, kmemleak and the like; it is built first, once.
test-debug-kernel: needs
	L7_KERNEL=debug cargo test --locked --package l7switch-qemu-tests --no-fail-fast --test basic --test guest

unit: needs
	cargo test --locked --workspace $(FEATURES)

# Prints ns and instructions; fails where a match with 100,000 routes takes over twice the instructions.
bench-rules: needs
	cargo bench --locked --package l7switch-rules --bench request

# Messages cut anywhere, for so long: what client and server see does not change.
SECONDS = 600
segments: needs
	L7_SEGMENTS_SECONDS=$(SECONDS) cargo test --locked --release --package l7switch --test front segments -- --nocapture

# The front's place taken over a hundred times under load: uploads, downloads, WebSockets, HTTP/2; then by h2load and wrk.
test-upgrade: needs
	L7_TAKE_OVERS=1 cargo test --locked --release --package l7switch --test e2e take_over -- --nocapture

# Reloads each second, servers killed and restarted, certificates replaced, for so many seconds: nothing fails, nothing grows.
soak: SECONDS = 1800
soak: needs
	L7_SOAK_SECONDS=$(SECONDS) cargo test --locked --release --package l7switch --test e2e soak -- --nocapture

# The packages in a Debian 13 that QEMU boots with systemd: installed, run, upgraded under load, removed, and the module by DKMS.
# lintian has no word against them.
test-packages: needs
	@.ci/install deb
	cargo build --release --locked $(FEATURES) --package l7switch --package l7ctl
	.ci/deb --lint
	python3 tests/packages/run.py

# Real HTTP servers direct and through the switch: the answers are the same. It writes docs/servers.md.
test-servers:
	@.ci/install servers
	cargo build --release --locked --package l7switch
	python3 tests/servers/run.py

# Alert rules and dashboard of docs/monitoring, before a Prometheus.
test-monitoring:
	@.ci/install monitoring
	cargo build --locked --package l7switch
	PYTHONPATH=$(CACHE)/tools/grafana PROMETHEUS=$(CACHE)/tools/prometheus python3 tests/monitoring/run.py

# Traces between programs that OpenTelemetry's Python libraries trace, through the switch, to a collector.
test-tracing:
	@.ci/install tracing
	cargo build --locked $(FEATURES) --package l7switch
	$(CACHE)/tools/tracing/bin/python tests/tracing/run.py

# gRPC between grpcio and grpcio: 10,000 calls of each kind, in clear text and by TLS.
test-grpc:
	@.ci/install grpc
	cargo build --release --locked --package l7switch
	$(CACHE)/tools/grpc/bin/python tests/grpc/run.py

# The status page in Chromium, on a desk and on a phone, in dark and light; pictures of it: target/page/.
test-page:
	@.ci/install page
	cargo build --locked --package l7switch
	python3 tests/page/run.py

# The admin API by its description: schemathesis asks a running switch.
test-api:
	@.ci/install api
	cargo build --locked --package l7switch
	$(CACHE)/tools/api/bin/python tests/api/run.py

# The kernel path between each kind of device and beside others in the network stack. It writes docs/crossing.md.
test-crossing: needs
	$(RIG) crossing

# Debian's servers, as shipped, direct and through the kernel module, in a guest: the answers are the same. It writes
# docs/programs.md.
test-programs: needs
	cargo test --locked --package l7switch-qemu-tests --test programs

# Faults put into the policy and the flows' environment on purpose, one by one, in a copy: tests must find each.
test-mutations:
	python3 kmod/sim/mutations.py

# What the module adds to a request, compared with docs/measurements/guest.json.
bench-gate: needs
	$(BENCH) gate

# The module beside the others in a guest that counts instructions; writes docs/measurements/. The short form, and all.
bench: needs
	$(BENCH) measure

bench-full: needs
	$(BENCH) measure --full

# The front beside HAProxy, nginx, Envoy and Traefik on this machine, where nothing else may run: rates, processor time,
# latency. It writes docs/measurements/host.md.
bench-host:
	@.ci/install bench
	$(BENCH) host

# Locks that are waited for where two processors switch, in a guest; nothing else may run. It writes
# docs/measurements/locks.md.
bench-locks: needs
	$(BENCH) locks

# What the module's connections take of memory. It writes docs/measurements/memory.md.
bench-memory: needs
	$(BENCH) memory

# Where the instructions of a request go: target/profile/.
profile: needs
	$(BENCH) profile module-nat keepalive-128B

fuzz: needs
	.ci/fuzz $(FUZZ_SECONDS)

# After `make build`, which needs no privilege.
install:
	install -D -t $(DESTDIR)$(PREFIX)/bin target/release/l7switch target/release/l7ctl
	install -d $(DESTDIR)$(PREFIX)/share/man/man1 \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions
	target/release/l7ctl man $(DESTDIR)$(PREFIX)/share/man/man1
	target/release/l7switch --man > $(DESTDIR)$(PREFIX)/share/man/man1/l7switch.1
	target/release/l7ctl completions bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/l7ctl
	target/release/l7ctl completions zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_l7ctl
	target/release/l7switch --completions bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/l7switch
	target/release/l7switch --completions zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_l7switch
