"""mlc translates models between frameworks, as readable source that is proven equal."""
