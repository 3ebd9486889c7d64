import { write } from 'node:fs';
import { type FileHandle, open, realpath, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { createGzip, type Gzip } from 'node:zlib';
import { errorMessage, InputError } from '../errors.ts';

/** Where an export goes. After `finish` or `abandon` nothing more may be called. */
export interface ExportFile {
  /** Resolves when there is room for more. @throws Error that says why it cannot be written. */
  write(bytes: Uint8Array): Promise<void>;
  /** Makes the file appear under its name, whole. @returns its bytes. */
  finish(): Promise<number>;
  /** Leaves everything as it was before. */
  abandon(): Promise<void>;
}

export interface ExportFileOptions {
  isGzip: boolean;
  /** Whether an existing file may be replaced. */
  isForced: boolean;
}

/**
 * Opens `path`, or stdout for '-'. A file is written as PATH.part and renamed when it is whole, so
 * that whoever looks finds the old one or the new one; a device or pipe is written as it is.
 * @throws InputError when the file is there already, or cannot be there.
 */
export async function openExportFile(
  path: string,
  { isGzip, isForced }: ExportFileOptions,
): Promise<ExportFile> {
  const target = path === '-' ? stdoutTarget() : await openTarget(path, isForced);
  return isGzip ? new GzipFile(target) : new PlainFile(target);
}

/** The open file, and what becomes of it. */
interface Target {
  put(bytes: Uint8Array): Promise<number>;
  /** All is written. */
  keep(): Promise<void>;
  drop(): Promise<void>;
  name: string;
}

/** By its number: a socket, which stdout may be, cannot be opened by name. */
function stdoutTarget(): Target {
  return {
    name: 'stdout',
    put: (bytes) =>
      new Promise((resolve, reject) => {
        write(1, bytes, (error, written) => (error ? reject(error) : resolve(written)));
      }),
    keep: async () => {},
    drop: async () => {},
  };
}

async function openTarget(path: string, isForced: boolean): Promise<Target> {
  const found = await stat(path).catch((error) => ignoreMissing(error, path));
  if (found?.isDirectory()) throw new InputError(`${path} is a folder; name a file in it`, 'o');
  if (found?.isFile() && !isForced) {
    throw new InputError(`${path} is there already; say --force to replace it`, 'o');
  }
  if (found && !found.isFile()) {
    const handle = await open(path, 'w').catch((error) => refuse(error, path));
    const close = () => handle.close();
    return { name: path, put: writer(handle), keep: close, drop: close };
  }
  const file = found ? await realpath(path) : path;
  const part = `${file}.part`;
  const handle = await open(part, isForced ? 'w' : 'wx').catch((error) => refuse(error, part));
  return {
    name: path,
    put: writer(handle),
    keep: async () => {
      // Else a power cut may leave the new name with nothing under it.
      await handle.sync();
      await handle.close();
      await rename(part, file);
    },
    drop: async () => {
      await handle.close().catch(() => {}); // closed already when it is the renaming that failed
      await unlink(part).catch((error) => ignoreMissing(error, part));
    },
  };
}

const writer = (handle: FileHandle) => async (bytes: Uint8Array) =>
  (await handle.write(bytes)).bytesWritten;

const codeOf = (error: unknown) => (error as { code?: string }).code;

function ignoreMissing(error: unknown, path: string): undefined {
  if (codeOf(error) !== 'ENOENT') refuse(error, path);
}

/** A path that cannot be opened is the caller's fault. */
function refuse(error: unknown, path: string): never {
  const code = codeOf(error);
  if (code === 'ENOENT') throw new InputError(`there is no folder ${dirname(path)}`, 'o');
  if (code === 'EEXIST') {
    throw new InputError(
      `${path} is there already: another export is writing it, or one was killed; remove it, or ` +
        'say --force',
      'o',
    );
  }
  throw new InputError(`cannot write ${path}: ${reasonOf(error)}`, 'o');
}

const REASONS: Record<string, string> = {
  ENOSPC: 'no space is left on the device',
  EDQUOT: 'the quota is used up',
  EFBIG: 'the file grew too large',
  EIO: 'the device failed',
  EPIPE: 'its reader went away',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
  ENOTDIR: 'a part of the path is no folder',
  ENAMETOOLONG: 'the name is too long',
};

const reasonOf = (error: unknown) => REASONS[codeOf(error) ?? ''] ?? errorMessage(error);

class PlainFile implements ExportFile {
  #bytes = 0;

  constructor(readonly target: Target) {}

  async write(bytes: Uint8Array): Promise<void> {
    try {
      for (let at = 0; at < bytes.length; ) {
        const written = await this.#put(bytes.subarray(at));
        at += written;
        this.#bytes += written;
      }
    } catch (error) {
      throw this.#explain(error);
    }
  }

  /** A pipe whose reader is slow may be full, when it was not opened by us. */
  async #put(bytes: Uint8Array): Promise<number> {
    for (;;) {
      try {
        return await this.target.put(bytes);
      } catch (error) {
        if (codeOf(error) !== 'EAGAIN') throw error;
        await Bun.sleep(2);
      }
    }
  }

  async finish(): Promise<number> {
    try {
      await this.target.keep();
    } catch (error) {
      throw this.#explain(error);
    }
    return this.#bytes;
  }

  abandon(): Promise<void> {
    return this.target.drop();
  }

  #explain(error: unknown): Error {
    const written = this.#bytes.toLocaleString('en-US');
    const { name } = this.target;
    const what = name === 'stdout' ? name : basename(name);
    return new Error(`cannot write ${what}: ${reasonOf(error)} (after ${written} bytes)`);
  }
}

/** Compresses on another thread, while the database prints what comes next. */
class GzipFile implements ExportFile {
  readonly #gzip: Gzip = createGzip();
  readonly #file: PlainFile;
  readonly #pumped: Promise<void>;

  constructor(target: Target) {
    this.#file = new PlainFile(target);
    this.#pumped = this.#pump();
    this.#pumped.catch(() => {}); // looked at by whoever writes next
  }

  async #pump(): Promise<void> {
    for await (const chunk of this.#gzip) await this.#file.write(chunk as Uint8Array);
  }

  async write(bytes: Uint8Array): Promise<void> {
    const taken = new Promise<void>((resolve, reject) => {
      this.#gzip.write(bytes, (error) => (error ? reject(error) : resolve()));
    });
    taken.catch(() => {});
    // The pump ends before the last write only by failing.
    await Promise.race([taken, this.#pumped]);
  }

  async finish(): Promise<number> {
    this.#gzip.end();
    await this.#pumped;
    return this.#file.finish();
  }

  async abandon(): Promise<void> {
    this.#gzip.destroy();
    await this.#pumped.catch(() => {});
    await this.#file.abandon();
  }
}
