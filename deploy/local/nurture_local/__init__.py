"""The nurture command: embedded servers, supervisor, sandbox providers."""
