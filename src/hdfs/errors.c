/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hdfs/errors.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/error.h"
#include "base/util.h"
#include "hdfs/types.h"

/*
 * Exceptions by the end of their name: packages have changed, inner classes have a '$'.
 * (org.apache.hadoop.hdfs.protocol, hdfs.server.namenode, ipc, fs, security; java.io.)
 */
static const struct {
    const char *name;
    int code;
    enum errors_advice advice;
} exceptions[] = {
    { "StandbyException", ETIMEDOUT, ERRORS_FAILOVER },
    { "ObserverRetryOnActiveException", ETIMEDOUT, ERRORS_FAILOVER },
    /* In an HA cluster what passes comes in this: safe mode, starting, too busy. */
    { "RetriableException", EAGAIN, ERRORS_WAIT },
    { "SafeModeException", EAGAIN, ERRORS_WAIT },
    { "NotReplicatedYetException", EAGAIN, ERRORS_WAIT },

    { "FileNotFoundException", ENOENT, ERRORS_FAIL },
    { "NoSuchFileException", ENOENT, ERRORS_FAIL },
    { "ReplicaNotFoundException", ENOENT, ERRORS_FAIL },
    { "FileAlreadyExistsException", EEXIST, ERRORS_FAIL },
    { "AlreadyBeingCreatedException", EBUSY, ERRORS_FAIL },
    { "RecoveryInProgressException", EBUSY, ERRORS_FAIL },
    { "LeaseExpiredException", HDFS_ELEASE, ERRORS_FAIL },
    { "SecretManager$InvalidToken", HDFS_ETOKEN, ERRORS_FAIL },
    { "InvalidBlockTokenException", HDFS_ETOKEN, ERRORS_FAIL },
    { "InvalidEncryptionKeyException", HDFS_ETOKEN, ERRORS_FAIL },
    { "SnapshotAccessControlException", EROFS, ERRORS_FAIL },
    { "AccessControlException", EACCES, ERRORS_FAIL },
    { "AuthorizationException", EACCES, ERRORS_FAIL },
    { "SaslException", EACCES, ERRORS_FAIL },
    { "QuotaExceededException", EDQUOT, ERRORS_FAIL },
    { "QuotaByStorageTypeExceededException", EDQUOT, ERRORS_FAIL },
    { "ParentNotDirectoryException", ENOTDIR, ERRORS_FAIL },
    { "PathIsNotDirectoryException", ENOTDIR, ERRORS_FAIL },
    { "PathIsDirectoryException", EISDIR, ERRORS_FAIL },
    { "PathIsNotEmptyDirectoryException", ENOTEMPTY, ERRORS_FAIL },
    { "PathComponentTooLongException", ENAMETOOLONG, ERRORS_FAIL },
    { "MaxDirectoryItemsExceededException", EMLINK, ERRORS_FAIL },
    { "UnresolvedPathException", ELOOP, ERRORS_FAIL },
    { "InvalidPathException", EINVAL, ERRORS_FAIL },
    { "IllegalArgumentException", EINVAL, ERRORS_FAIL },
    { "UnsupportedOperationException", EOPNOTSUPP, ERRORS_FAIL },
    { "RpcNoSuchMethodException", EOPNOTSUPP, ERRORS_FAIL },
    { "RpcNoSuchProtocolException", EPROTONOSUPPORT, ERRORS_FAIL },
    { "VersionMismatch", EPROTONOSUPPORT, ERRORS_FAIL },
    { "DisallowedDatanodeException", EACCES, ERRORS_FAIL },
};

/* What comes as a plain IOException and is told from others by its words only. */
static const struct {
    const char *words;
    int code;
} messages[] = {
    { "could only be written to 0 of the", ENOSPC },            /* BlockManager */
    { "could only be replicated to 0 nodes", ENOSPC },          /* before 3.0 */
    { "not the lease owner", HDFS_ELEASE },                     /* FSNamesystem */
    { "is non empty", ENOTEMPTY },
};

static bool ends_with(const char *text, const char *end)
{
    size_t text_len = strlen(text), end_len = strlen(end);

    return text_len >= end_len && strcmp(text + text_len - end_len, end) == 0;
}

int errors_code(const char *class, const char *message, enum errors_advice *ret)
{
    *ret = ERRORS_FAIL;
    for (size_t i = 0; i < ARRAY_SIZE(exceptions); i++) {
        if (ends_with(class, exceptions[i].name)) {
            *ret = exceptions[i].advice;
            return -exceptions[i].code;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
        if (strstr(message, messages[i].words)) {
            return -messages[i].code;
        }
    }
    return -EIO;
}

void errors_first_line(const char *message, char *buf, size_t len)
{
    size_t n = 0;

    for (; message[n] && message[n] != '\n' && n + 1 < len; n++) {
        unsigned char c = (unsigned char)message[n];

        buf[n] = c < 0x20 || c == 0x7f ? ' ' : message[n];
    }
    while (n > 0 && buf[n - 1] == ' ') {
        n--;
    }
    buf[n] = '\0';
}

const char *errors_name(int code)
{
    switch (code < 0 ? -code : code) {
    case HDFS_ELEASE:
        return "another client has, or had, the lease of the file";
    case HDFS_ETOKEN:
        return "a block token is not valid (any more)";
    default:
        return error_name(code);
    }
}
