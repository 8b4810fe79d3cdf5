#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The HDFS store on a real cluster: the store contract, and what only it has (other
# writers, knocks, creates of unknown outcome): tests/hdfs/test-store-hdfs.c.

. "$(dirname "$0")/../lib/test.sh"
requires java mvn
requires_build "$BUILD/tests/hdfs/test-store-hdfs"

cluster() {
    "$ROOT/tests/hdfs/cluster" "$SETUP_TMP/hdfs" "$@"
}
stop_cluster() {
    local status=$?

    cluster stop > /dev/null 2>&1
    (exit $status)
}
trap 'stop_cluster; setup_cleanup' EXIT

step "one NameNode, four DataNodes"
cluster start --datanodes 4 > "$SETUP_TMP/start.log" 2>&1 || {
    tail -n 20 "$SETUP_TMP/start.log"
    fail "the cluster does not start"
}

step "the store"
HLFS_TEST_CLUSTER=$SETUP_TMP/hdfs expect_status 0 timeout 300 \
    "$BUILD/tests/hdfs/test-store-hdfs"

step "Hadoop calls what is left healthy"
expect_status 0 cluster hdfs fsck / -openforwrite
expect_text "$SETUP_TMP/out" HEALTHY
