/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * status.h - how a DataNode answers: the values of Status of datatransfer.proto.
 */
#ifndef HLFS_HDFS_STATUS_H
#define HLFS_HDFS_STATUS_H

enum hdfs_status {
    HDFS_STATUS_SUCCESS = 0,
    HDFS_STATUS_ERROR = 1,
    HDFS_STATUS_ERROR_CHECKSUM = 2,
    HDFS_STATUS_ERROR_INVALID = 3,
    HDFS_STATUS_ERROR_EXISTS = 4,
    HDFS_STATUS_ERROR_ACCESS_TOKEN = 5,
    HDFS_STATUS_CHECKSUM_OK = 6,
    HDFS_STATUS_ERROR_UNSUPPORTED = 7,
    HDFS_STATUS_OOB_RESTART = 8,        /* the DataNode is about to restart */
    HDFS_STATUS_IN_PROGRESS = 12,
    HDFS_STATUS_ERROR_BLOCK_PINNED = 13,
    HDFS_STATUS_UNKNOWN = 255,          /* ours: a value not known here */
};

#endif
