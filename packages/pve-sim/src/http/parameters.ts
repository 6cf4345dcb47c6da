import { parameterError } from './api-error.ts';
import type { RawParams, RawValue } from './request-body.ts';

/** What a route accepts for one parameter, and the words for what it does not accept (recorded). */
export interface ParamSpec {
  type: 'string' | 'integer' | 'number' | 'boolean' | 'list';
  required?: boolean;
  min?: number;
  max?: number;
  maxLength?: number;
  oneOf?: readonly string[];
  /** What PVE says of a text that is not of the registered format; null where it is. */
  format?: (value: string) => string | null;
}
export type ParamSpecs = Readonly<Record<string, ParamSpec>>;
export type Params = Record<string, string | number | string[]>;

export const text: ParamSpec = { type: 'string' };
export const integer: ParamSpec = { type: 'integer' };
export const flag: ParamSpec = { type: 'boolean' };
export const list: ParamSpec = { type: 'list' };

/** Checks and converts; every problem is told at once. Booleans become 0 and 1. */
export function checkParams(specs: ParamSpecs, raw: RawParams, path: Readonly<Record<string, string>>): Params {
  const errors: Record<string, string> = {};
  const params: Params = {};
  for (const [key, value] of Object.entries(raw)) {
    const inPath = path[key];
    if (inPath !== undefined) {
      if (inPath !== String(value))
        errors[key] = 'duplicate parameter (already defined in URI) with conflicting values!';
      continue;
    }
    const spec = specs[key];
    if (spec === undefined) {
      errors[key] = 'property is not defined in schema and the schema does not allow additional properties';
      continue;
    }
    const checked = check(spec, value);
    if (typeof checked === 'object' && 'error' in checked) errors[key] = checked.error;
    else params[key] = checked;
  }
  for (const [key, spec] of Object.entries(specs)) {
    if (spec.required === true && raw[key] === undefined) errors[key] = 'property is missing and it is not optional';
  }
  if (Object.keys(errors).length > 0) throw parameterError(errors);
  return params;
}

export function stringOf(params: Params, key: string): string | undefined {
  const value = params[key];
  if (value === undefined) return undefined;
  return Array.isArray(value) ? value.join(',') : String(value);
}

export function numberOf(params: Params, key: string): number | undefined {
  const value = params[key];
  return typeof value === 'number' ? value : undefined;
}

export function isSet(params: Params, key: string): boolean {
  return params[key] === 1;
}

function check(spec: ParamSpec, value: RawValue): string | number | string[] | { error: string } {
  if (spec.type === 'list') return Array.isArray(value) ? value.map(String) : [String(value)];
  if (spec.type === 'boolean') return checkBoolean(value);
  if (Array.isArray(value)) return { error: `type check ('${spec.type}') failed - got 'ARRAY'` };
  if (spec.type === 'integer') return checkInteger(spec, String(value));
  return spec.type === 'number' ? checkNumber(spec, String(value)) : checkString(spec, String(value));
}

function checkBoolean(value: RawValue): number | { error: string } {
  if (value === true || value === 1 || value === '1') return 1;
  if (value === false || value === 0 || value === '0') return 0;
  return { error: `type check ('boolean') failed - got '${String(value)}'` };
}

function checkInteger(spec: ParamSpec, value: string): number | { error: string } {
  if (!/^-?\d+$/.test(value)) return { error: `type check ('integer') failed - got '${value}'` };
  const number = Number(value);
  return outOfRange(spec, number) ?? number;
}

/** A number stays the text that it came as: so it is written to the file, and so it is answered. */
function checkNumber(spec: ParamSpec, value: string): string | { error: string } {
  if (!/^\d+(\.\d+)?$/.test(value)) return { error: `type check ('number') failed - got '${value}'` };
  return outOfRange(spec, Number(value)) ?? value;
}

function outOfRange(spec: ParamSpec, number: number): { error: string } | null {
  if (spec.min !== undefined && number < spec.min) return { error: `value must have a minimum value of ${spec.min}` };
  if (spec.max !== undefined && number > spec.max) return { error: `value must have a maximum value of ${spec.max}` };
  return null;
}

function checkString(spec: ParamSpec, value: string): string | { error: string } {
  if (spec.maxLength !== undefined && Array.from(value).length > spec.maxLength) {
    return { error: `value may only be ${spec.maxLength} characters long` };
  }
  if (spec.oneOf !== undefined && !spec.oneOf.includes(value)) {
    return { error: `value '${value}' does not have a value in the enumeration '${spec.oneOf.join(', ')}'` };
  }
  const wrong = spec.format?.(value) ?? null;
  if (wrong !== null) return { error: `invalid format - ${wrong}\n` };
  return value;
}
