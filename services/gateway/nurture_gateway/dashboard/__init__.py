"""The dashboard: pages for people. Every button calls the function behind the REST path of the same meaning."""
