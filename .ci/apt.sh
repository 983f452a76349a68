#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# apt-get for scripts. Sourced, not run; $as_root is how to become root.

# apt WORDS...: apt-get, which waits up to ten minutes for another apt or dpkg. DPkg::Lock::Timeout covers dpkg's lock; apt-get
# fails at once where another holds that of the lists (update) or of the archives, so it is called again.
apt() {
    local until=$((SECONDS + 600)) said
    # RUNLEVEL keeps a package from starting its service.
    # shellcheck disable=SC2086
    while ! said=$($as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 LC_ALL=C \
        apt-get -qq -o DPkg::Lock::Timeout=600 "$@" 2>&1); do
        if ! [[ $said == *"Could not get lock"* || $said == *"Unable to lock"* ]] || [ $SECONDS -ge $until ]; then
            echo "$said" >&2
            return 1
        fi
        echo "waiting for another apt: $(grep -m 1 -E 'Could not get lock|Unable to lock' <<< "$said")"
        sleep 3
    done
}
