// SPDX-License-Identifier: LGPL-2.1-or-later
// Hadoop's own client, measured: what bench/run --hdfs compares HLFS with.
//
// Stays in one process, so that it is warm when it counts: reads commands from stdin, one a
// line, and answers each with one line of JSON.
//
//   write PATH BYTES REPLICATION LEVEL    in pieces of 1 MiB; LEVEL is hflush or hsync
//   sync PATH COUNT REPLICATION LEVEL     4 KiB at a time, each followed by hflush or hsync
//   read PATH THREADS SECONDS             4 KiB at random places, by positional reads
//   delete PATH
//
// At LEVEL hsync each block is on the nodes' disks when it is closed, as it is with HLFS.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.Random;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.CreateFlag;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.permission.FsPermission;

public class HdfsBench {
    static final int BLOCK = 4096;
    static final int PIECE = 1 << 20;
    static final byte[] DATA = new byte[16 * PIECE];

    final FileSystem fs;

    HdfsBench(FileSystem fs) {
        this.fs = fs;
    }

    FSDataOutputStream create(String path, int replication, boolean hsync) throws Exception {
        EnumSet<CreateFlag> flags = EnumSet.of(CreateFlag.CREATE, CreateFlag.OVERWRITE);
        Path p = new Path(path);

        if (hsync) {
            flags.add(CreateFlag.SYNC_BLOCK);
        }
        return fs.create(p, FsPermission.getFileDefault(), flags, 65536, (short) replication,
                         fs.getDefaultBlockSize(p), null);
    }

    static void flush(FSDataOutputStream out, boolean hsync) throws Exception {
        if (hsync) {
            out.hsync();
        } else {
            out.hflush();
        }
    }

    String write(String path, long bytes, int replication, boolean hsync) throws Exception {
        FSDataOutputStream out = create(path, replication, hsync);
        long start = System.nanoTime();

        for (long i = 0; i < bytes / PIECE; i++) {
            out.write(DATA, (int) (i % 16) * PIECE, PIECE);
        }
        flush(out, hsync);
        double seconds = (System.nanoTime() - start) / 1e9;
        out.close();
        return String.format("{\"requests\": %d, \"elapsed_s\": %.6f}", bytes / PIECE, seconds);
    }

    String sync(String path, int count, int replication, boolean hsync) throws Exception {
        FSDataOutputStream out = create(path, replication, hsync);
        long[] ns = new long[count];
        long begin = System.nanoTime();

        for (int i = 0; i < count; i++) {
            long start = System.nanoTime();
            out.write(DATA, i % 4096 * BLOCK, BLOCK);
            flush(out, hsync);
            ns[i] = System.nanoTime() - start;
        }
        double seconds = (System.nanoTime() - begin) / 1e9;
        out.close();
        Arrays.sort(ns);
        return String.format("{\"requests\": %d, \"elapsed_s\": %.6f, \"p50_us\": %.3f, " +
                             "\"p99_us\": %.3f}", count, seconds, ns[count / 2] / 1e3,
                             ns[(int) (count * 0.99)] / 1e3);
    }

    static long readUntil(FSDataInputStream in, long blocks, long end) throws Exception {
        byte[] buffer = new byte[BLOCK];
        long count = 0;

        while (System.nanoTime() < end) {
            in.readFully(ThreadLocalRandom.current().nextLong(blocks) * BLOCK, buffer);
            count++;
        }
        return count;
    }

    // All threads share one stream, as they may for positional reads.
    String read(String path, int threads, double seconds) throws Exception {
        Path p = new Path(path);
        long blocks = fs.getFileStatus(p).getLen() / BLOCK;
        AtomicLong requests = new AtomicLong();
        AtomicReference<Exception> failure = new AtomicReference<>();
        Thread[] all = new Thread[threads];
        long start = System.nanoTime();
        long end = start + (long) (seconds * 1e9);

        try (FSDataInputStream in = fs.open(p)) {
            for (int i = 0; i < threads; i++) {
                all[i] = new Thread(() -> {
                    try {
                        requests.addAndGet(readUntil(in, blocks, end));
                    } catch (Exception e) {
                        failure.set(e);
                    }
                });
                all[i].start();
            }
            for (Thread t : all) {
                t.join();
            }
        }
        if (failure.get() != null) {
            throw failure.get();
        }
        return String.format("{\"requests\": %d, \"elapsed_s\": %.6f}", requests.get(),
                             (System.nanoTime() - start) / 1e9);
    }

    String run(String[] a) throws Exception {
        switch (a[0]) {
        case "write":
            return write(a[1], Long.parseLong(a[2]), Integer.parseInt(a[3]),
                         a[4].equals("hsync"));
        case "sync":
            return sync(a[1], Integer.parseInt(a[2]), Integer.parseInt(a[3]),
                        a[4].equals("hsync"));
        case "read":
            return read(a[1], Integer.parseInt(a[2]), Double.parseDouble(a[3]));
        case "delete":
            return "{\"deleted\": " + fs.delete(new Path(a[1]), true) + "}";
        default:
            throw new IllegalArgumentException("there is no command " + a[0]);
        }
    }

    public static void main(String[] args) throws Exception {
        HdfsBench bench = new HdfsBench(FileSystem.get(new Configuration()));
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
        String line;

        new Random(1).nextBytes(DATA);
        while ((line = commands.readLine()) != null) {
            System.out.println(bench.run(line.trim().split(" ")));
        }
    }
}
