import { writeFile } from 'node:fs/promises';
import { managedFieldsDocument } from '../apps/felhom-agent/src/reconcile/fields-document.ts';

// The pages of docs/ that are made from tables of the programs.
await writeFile(new URL('../docs/managed-fields.md', import.meta.url), managedFieldsDocument());
