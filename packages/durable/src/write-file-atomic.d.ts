/** The part of write-file-atomic 7 that replace-file.ts uses (the package ships no types). */
declare module 'write-file-atomic' {
  interface WriteFileAtomicOptions {
    /** Mode of the temporary file, and so of the file. */
    mode?: number;
    /** Owner of the temporary file, set before the rename. Default: that of the file that was there. */
    chown?: { uid: number; gid: number };
    /** Whether the library syncs the temporary file itself before the rename. */
    fsync?: boolean;
    /** Awaited once the empty temporary file exists; what it throws ends the replacement before the rename. */
    tmpfileCreated?: (temporary: string) => Promise<void>;
  }
  export default function writeFileAtomic(path: string, data: null, options: WriteFileAtomicOptions): Promise<void>;
}
