# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034,SC2120
#
# hdfs.sh - a real HDFS on this machine, in $SETUP_TMP/hdfs, that ends with the script;
# and what tests ask of it.  Used by ./run --hdfs and the tests hdfs-*.sh.
#
# Sourced after setup.sh, and after setup_trap.

SERVE_MAX_S=30          # of serve(): who comes after a kill waits for the dead writer

# hdfs_cluster COMMAND... - of tests/hdfs/cluster, which says what there is.
hdfs_cluster() {
    "$ROOT/tests/hdfs/cluster" "$SETUP_TMP/hdfs" "$@"
}

# hdfs_start [OPTION...] - of the cluster's start; sets HDFS_URI, and HADOOP_CONF_DIR for
# what is run from here on.  HDFS_STOPPED may name a function to call when it has ended.
hdfs_start() {
    local start

    start=$(now_ms)
    trap 'hdfs_cleanup' EXIT
    # By default a copy that was asked of a node which then died is asked of another one
    # after 5 minutes only.
    if ! hdfs_cluster start --set dfs.namenode.reconstruction.pending.timeout-sec=5 \
        "$@" > "$SETUP_TMP/cluster.log" 2>&1; then
        tail -n 20 "$SETUP_TMP/cluster.log"
        return 1
    fi
    HDFS_URI=$(hdfs_cluster uri)
    HADOOP_CONF_DIR=$(hdfs_cluster conf)
    export HADOOP_CONF_DIR
    say "  it started in $((($(now_ms) - start) / 1000)) s"
}

hdfs_cleanup() {
    local status=$?

    [ -z "$SETUP_TMP" ] || hdfs_cluster stop > /dev/null 2>&1 || true
    [ -z "${HDFS_STOPPED-}" ] || "$HDFS_STOPPED"
    setup_cleanup
    exit $status
}

# Which files grow, the newest first: "BLOCK N" for each copy on DataNode N.
hdfs_growing() {
    find "$SETUP_TMP"/hdfs/data/dn*/current/BP-*/current/rbw -name 'blk_*' \
        ! -name '*.meta' -size +0 -printf '%T@ %f %p\n' 2> /dev/null | sort -rn |
        sed -E 's,^[^ ]+ ([^ ]+) .*/data/dn([0-9]+)/.*,\1 \2,'
}

# The numbers of the DataNodes that hold the newest growing block, that is the tail of
# the volume which is being written.
hdfs_tail_nodes() {
    hdfs_growing | awk 'NR == 1 { block = $1 } $1 == block { print $2 }'
}

# A node in the pipeline that is being written to; sets NODE.
hdfs_find_tail_node() {
    NODE=$(hdfs_tail_nodes | tail -n 1)
    [ -n "$NODE" ]
}

# How many complete blocks DataNode N keeps.
hdfs_node_blocks() {
    find "$SETUP_TMP/hdfs/data/dn$1/current" -path '*/finalized/*' -name 'blk_*' \
        ! -name '*.meta' 2> /dev/null | wc -l
}

# hdfs_healthy PATH - every block under it is complete in as many copies as was asked for.
hdfs_healthy() {
    hdfs_cluster hdfs fsck "$1" > "$SETUP_TMP/fsck" 2>&1
    grep -q 'Status: HEALTHY' "$SETUP_TMP/fsck" &&
        grep -qE 'Under-replicated blocks:[[:space:]]+0 ' "$SETUP_TMP/fsck" &&
        grep -qE 'Missing blocks:[[:space:]]+0$' "$SETUP_TMP/fsck"
}

# hdfs_black_hole - start what accepts connections and never answers; sets PORT.
hdfs_black_hole() {
    "$PYTHON" -c 'import socket, time
s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
time.sleep(600)' > "$SETUP_TMP/hole" &
    setup_process $!
    wait_until 10 test -s "$SETUP_TMP/hole" || return 1
    PORT=$(cat "$SETUP_TMP/hole")
}

# ---- fio over NBD, from a test that has called serve() ---------------------------

# fio_nbd NAME OPTION... - random requests of 4 KiB, each block once, with checksums, and
# a flush in the end; what fio says goes to $SETUP_TMP/NAME.json.  It fails by any I/O
# error, and by a block that is not as it was written.
fio_nbd() {
    local name=$1
    shift

    fio --output-format=json --output="$SETUP_TMP/$name.json" --ioengine=nbd \
        --uri="$URI" --rw=randwrite --bs=4k --verify=crc32c --do_verify=0 \
        --verify_state_save=0 \
        --verify_fatal=1 --end_fsync=1 "$@" > "$SETUP_TMP/$name.err" 2>&1 < /dev/null || {
        cat "$SETUP_TMP/$name.err" "$SETUP_TMP/$name.json" | grep -E '^(fio|verify)' |
            head -n 10
        return 1
    }
}

# fio_longest NAME JOB write|sync - the longest time that one of it took, in ms.
fio_longest() {
    sed -n '/^{/,$p' "$SETUP_TMP/$1.json" | jq --arg job "$2" --arg what "$3" \
        '.jobs[] | select(.jobname == $job) | if $what == "sync" then .sync.lat_ns.max
         else .write.clat_ns.max end / 1000000 | floor'
}
