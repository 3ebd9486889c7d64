/** A map bounded by bytes that forgets what was not used for longest. */
export class ByteLru<Value> {
  readonly #entries = new Map<string, { value: Value; bytes: number }>();
  bytes = 0;

  constructor(
    readonly bytesMax: number,
    readonly onDelete: (value: Value, key: string) => void = () => {},
  ) {}

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): Value | undefined {
    const entry = this.#entries.get(key);
    if (!entry) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry.value;
  }

  /** Without using it. */
  peek(key: string): Value | undefined {
    return this.#entries.get(key)?.value;
  }

  set(key: string, value: Value, bytes: number): void {
    this.delete(key);
    if (bytes > this.bytesMax) return;
    this.#entries.set(key, { value, bytes });
    this.bytes += bytes;
    for (const oldest of this.#entries.keys()) {
      if (this.bytes <= this.bytesMax) break;
      this.delete(oldest);
    }
  }

  delete(key: string): void {
    const entry = this.#entries.get(key);
    if (!entry) return;
    this.bytes -= entry.bytes;
    this.#entries.delete(key);
    this.onDelete(entry.value, key);
  }

  clear(): void {
    this.#entries.clear();
    this.bytes = 0;
  }
}
