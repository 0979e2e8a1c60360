/*
 * What a schema of the draft looks like, as a schema: for those that refer to it. Our own wording, in one document; that a schema
 * is one is checked by the compiler. Any process.
 */
#include "config.h"

#include "common/schema/internal.h"

#define SELF	"{\"$dynamicRef\":\"#meta\"}"
#define LIST	"{\"type\":\"array\",\"minItems\":1,\"items\":" SELF "}"
#define MAP	"{\"type\":\"object\",\"additionalProperties\":" SELF "}"
#define COUNT	"{\"type\":\"integer\",\"minimum\":0}"
#define NUMBER	"{\"type\":\"number\"}"
#define STRING	"{\"type\":\"string\"}"
#define FLAG	"{\"type\":\"boolean\"}"
#define NAMES	"{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"uniqueItems\":true}"
#define REF	"{\"type\":\"string\",\"format\":\"uri-reference\"}"
#define ANCHOR	"{\"type\":\"string\",\"pattern\":\"^[A-Za-z_][-A-Za-z0-9._]*$\"}"
#define TYPE	"{\"enum\":[\"array\",\"boolean\",\"integer\",\"null\",\"number\",\"object\",\"string\"]}"

const char schema_of_schemas[] =
    "{\"$schema\":\"" DRAFT "schema\",\"$id\":\"" DRAFT "schema\",\"$dynamicAnchor\":\"meta\","
    "\"type\":[\"object\",\"boolean\"],\"properties\":{"
    "\"$id\":{\"type\":\"string\",\"pattern\":\"^[^#]*#?$\"},\"$schema\":" STRING ",\"$ref\":" REF ",\"$anchor\":" ANCHOR ","
    "\"$dynamicRef\":" REF ",\"$dynamicAnchor\":" ANCHOR ",\"$comment\":" STRING ",\"$defs\":" MAP ",\"definitions\":" MAP ","
    "\"$vocabulary\":{\"type\":\"object\",\"additionalProperties\":" FLAG "},"
    "\"prefixItems\":" LIST ",\"items\":" SELF ",\"contains\":" SELF ",\"additionalProperties\":" SELF ",\"properties\":" MAP ","
    "\"patternProperties\":" MAP ",\"dependentSchemas\":" MAP ",\"propertyNames\":" SELF ",\"if\":" SELF ",\"then\":" SELF ","
    "\"else\":" SELF ",\"allOf\":" LIST ",\"anyOf\":" LIST ",\"oneOf\":" LIST ",\"not\":" SELF ","
    "\"unevaluatedItems\":" SELF ",\"unevaluatedProperties\":" SELF ","
    "\"type\":{\"anyOf\":[" TYPE ",{\"type\":\"array\",\"items\":" TYPE ",\"minItems\":1,\"uniqueItems\":true}]},"
    "\"const\":true,\"enum\":{\"type\":\"array\"},\"multipleOf\":{\"type\":\"number\",\"exclusiveMinimum\":0},"
    "\"maximum\":" NUMBER ",\"exclusiveMaximum\":" NUMBER ",\"minimum\":" NUMBER ",\"exclusiveMinimum\":" NUMBER ","
    "\"maxLength\":" COUNT ",\"minLength\":" COUNT ",\"pattern\":" STRING ",\"maxItems\":" COUNT ",\"minItems\":" COUNT ","
    "\"uniqueItems\":" FLAG ",\"maxContains\":" COUNT ",\"minContains\":" COUNT ",\"maxProperties\":" COUNT ","
    "\"minProperties\":" COUNT ",\"required\":" NAMES ","
    "\"dependentRequired\":{\"type\":\"object\",\"additionalProperties\":" NAMES "},"
    "\"format\":" STRING ",\"contentEncoding\":" STRING ",\"contentMediaType\":" STRING ",\"contentSchema\":" SELF ","
    "\"title\":" STRING ",\"description\":" STRING ",\"default\":true,\"deprecated\":" FLAG ",\"readOnly\":" FLAG ","
    "\"writeOnly\":" FLAG ",\"examples\":{\"type\":\"array\"}}}";
