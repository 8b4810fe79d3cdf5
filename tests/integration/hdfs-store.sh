#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The HDFS store on a real cluster: the store contract, and what only it has (other
# writers, knocks, creates of unknown outcome): tests/hdfs/test-store-hdfs.c.

. "$(dirname "$0")/../lib/test.sh"
. "$ROOT/tests/lib/hdfs.sh"
requires java mvn
requires_build "$BUILD/tests/hdfs/test-store-hdfs"

step "one NameNode, four DataNodes"
hdfs_start --datanodes 4 || fail "no HDFS"

step "the store"
HLFS_TEST_CLUSTER=$SETUP_TMP/hdfs expect_status 0 timeout 300 \
    "$BUILD/tests/hdfs/test-store-hdfs"

step "Hadoop calls what is left healthy"
expect_status 0 hdfs_cluster hdfs fsck / -openforwrite
expect_text "$SETUP_TMP/out" HEALTHY
