/** What a request that changes something can be refused for, whatever it is about. */

/** Of every one. */
export const CROSS_SITE = {
  description: 'A page of another site sent it',
  code: 'cross_site',
  message: 'a page of another site sent this: change things from the pages of marketd',
};

/** Of those with a JSON body, by status. */
export const BODY_REFUSALS = {
  400: {
    description: 'The body is no JSON object',
    code: 'malformed',
    message: 'the body must be a JSON object',
  },
  403: CROSS_SITE,
  413: {
    description: 'The body is too large',
    code: 'too_large',
    message: 'the body must be at most 65536 bytes',
  },
  415: {
    description: 'The body is not said to be JSON',
    code: 'unsupported_type',
    message: 'send JSON, with content-type: application/json',
  },
};
