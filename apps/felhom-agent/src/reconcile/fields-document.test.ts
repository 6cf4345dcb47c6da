import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { desiredSchema } from '../desired/schema.ts';
import { managedFields } from './fields.ts';
import { managedFieldsDocument } from './fields-document.ts';

describe('docs/managed-fields.md', () => {
  it('is what npm run docs makes of the table', async () => {
    const page = new URL('../../../../docs/managed-fields.md', import.meta.url);
    expect(await readFile(page, 'utf8')).toBe(managedFieldsDocument());
  });

  it('names every field that can be declared, and the table every one too', () => {
    const declared = Object.keys(desiredSchema.shape);
    expect(declared.toSorted()).toEqual(['state', ...managedFields.map((field) => field.name)].toSorted());
    for (const name of declared) expect(managedFieldsDocument()).toContain(`| \`${name}\` |`);
  });
});
