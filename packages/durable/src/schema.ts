/**
 * What checks a value read from or written to the disk. A zod schema is one; commands that must start fast hand in a
 * check of their own, so nothing here loads zod.
 */
export interface Schema<T> {
  safeParse(value: unknown): { success: true; data: T } | { success: false; error: SchemaError };
}

export interface SchemaError {
  issues: readonly { message: string; path: readonly PropertyKey[] }[];
}

/** The first few issues in one line. */
export function explain({ issues }: SchemaError): string {
  const lines = issues
    .slice(0, 3)
    .map(({ message, path }) => (path.length === 0 ? message : `${path.join('.')}: ${message}`));
  return lines.join('; ') + (issues.length > 3 ? `; and ${issues.length - 3} more` : '');
}
