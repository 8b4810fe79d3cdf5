/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nameservice.h - from a location's authority and the configuration to NameNodes.
 *
 * hdfs://host[:port] is one NameNode.  hdfs://name with dfs.ha.namenodes.name is a set
 * of them (dfs.namenode.rpc-address.name.*).  An empty authority is that of
 * fs.defaultFS.  After org.apache.hadoop.hdfs.DFSUtilClient and HAUtilClient.
 */
#ifndef HLFS_HDFS_NAMESERVICE_H
#define HLFS_HDFS_NAMESERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "hdfs/conf.h"

#define NAMESERVICE_MAX 16              /* NameNodes of one name service */
#define NAMESERVICE_PORT 8020           /* HdfsClientConfigKeys: the RPC default */

struct nameservice {
    char name[256];                     /* as people know it: "prod" or "host:8020" */
    bool logical;                       /* a name of the configuration, not a host */
    unsigned count;
    struct {
        char host[256];
        uint16_t port;
    } nodes[NAMESERVICE_MAX];
};

/*
 * AUTHORITY is what stands between hdfs:// and the path.  -EINVAL with a sentence
 * (error_set) if it, or what the configuration says of it, is not to be understood.
 */
int nameservice_find(const struct conf *conf, const char *authority,
                     struct nameservice *ret);

#endif
