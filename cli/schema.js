'use strict';

// The JSON schema of a config file, from the table of settings.

const { SETTINGS, TYPES } = require('./settings');

/** @returns {object} */
function schema() {
  const properties = SETTINGS.map((setting) => {
    const { key, type, help, fallback } = setting;
    const description = fallback === undefined ? help : `${help} Otherwise: ${fallback}.`;
    return [key, { description, ...TYPES[type].schema(setting) }];
  });
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'corral run',
    type: 'object',
    additionalProperties: false,
    properties: { $schema: { type: 'string' }, ...Object.fromEntries(properties) },
  };
}

module.exports = { schema };
