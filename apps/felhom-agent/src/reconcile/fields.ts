import type { ManagedField } from './managed-field.ts';
import type { FieldName, FieldValue, GuestKind, Options } from './model.ts';
import { coresField, cpulimitField, cpuunitsField, flagField, memoryField, swapField } from './number-fields.ts';
import { descriptionField, hostnameField, startupField, tagsField } from './text-fields.ts';

/** Every managed field besides the run state, in the order in which plans and documentation name them. */
export const managedFields: readonly ManagedField[] = [
  coresField,
  memoryField,
  swapField,
  cpulimitField,
  cpuunitsField,
  hostnameField,
  tagsField,
  flagField('onboot'),
  startupField,
  flagField('protection'),
  descriptionField,
];

const byName = new Map(managedFields.map((field) => [field.name, field]));

export function fieldOf(name: FieldName): ManagedField {
  const field = byName.get(name);
  if (field === undefined) throw new Error(`${name} is not in the table of managed fields`);
  return field;
}

/** The canonical value of a field in a configuration. */
export function readField(field: ManagedField, kind: GuestKind, options: Options): FieldValue {
  const option = field.option[kind];
  return option === null ? null : field.canonical(kind, options[option] ?? null);
}
